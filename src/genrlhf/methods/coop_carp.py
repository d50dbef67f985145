"""CoOp CARP: the log-probability of a class of passages, with learned context before its name, as a reward."""

from __future__ import annotations

from genrlhf.methods.method import Method

__all__ = ["METHOD"]

METHOD = Method(
    name="coop_carp",
    label="CoOp CARP",
    paper="Castricato et al. 2022, arXiv 2210.07792; Zhou et al. 2021, arXiv 2109.01134",
    loop="pairs",
    needs=("critiques",),
    trainer="genrlhf.trainers:CoOpCARPTrainer",
    config="genrlhf.trainers:CoOpCARPConfig",
    makes="reward",
)
