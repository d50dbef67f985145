"""One of two processes that train by DPO: `python -m tests.trainers.two_pairs FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.processes import leave
from tests.trainers.test_preference_tuning import trainer

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    made = trainer("dpo", folder, optim="sgd", max_grad_norm=0.0, per_device_train_batch_size=4)
    made.train()
    made.save_model(str(folder))
    leave()
