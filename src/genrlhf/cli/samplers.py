"""How commands are told what draws completions, and how they make it."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from genrlhf.errors import ConfigError

if TYPE_CHECKING:
    from genrlhf.types import Sampler

__all__ = ["add_asking_option", "add_sampler_options", "backend_of", "make_sampler", "model_settings"]


def add_sampler_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what runs the model, `--model` not among them."""
    parser.add_argument(
        "--backend",
        choices=("transformers", "server", "vllm"),
        help="what runs the model (default: transformers, or server with --base-url)",
    )
    parser.add_argument("--base-url", help="an OpenAI-compatible server, such as http://localhost:8000/v1")
    parser.add_argument("--extra-body", type=_object, help="a JSON object of further fields of the server's requests")
    parser.add_argument("--dtype", default="auto", help="of the weights, such as bfloat16 (default: as saved)")
    parser.add_argument("--batch-size", type=int, default=128, help="sequences at a time (default: %(default)s)")
    parser.add_argument(
        "--max-batch-tokens", type=int, default=65536, help="tokens in memory at a time (default: %(default)s)"
    )
    parser.add_argument("--trust-remote-code", action="store_true", help="run code that the model's repository ships")


def add_asking_option(parser: Any) -> None:
    """Add the option that sends prompts as they are to a model that wants something around them."""
    parser.add_argument(
        "--ignore-asking",
        action="store_true",
        help="send prompts as they are to a model whose folder says what is to stand around them "
        "(genrlhf_asking.json, which some methods leave there; default: put it there)",
    )


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError("must be a JSON object")
    return found


def backend_of(args: argparse.Namespace) -> str:
    """Return what runs the model."""
    return args.backend or ("server" if args.base_url else "transformers")


def model_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Return what tells the model, and how it is run, from others."""
    from genrlhf.models.fingerprint import model_fingerprint

    return {
        "model": args.model,
        "weights": model_fingerprint(args.model),
        "dtype": args.dtype,
        "backend": backend_of(args),
        "extra_body": args.extra_body,
    }


def make_sampler(args: argparse.Namespace, device: Any, **options: Any) -> Sampler:
    """Return the sampler that the options name.

    Args:
        args: with `--model` and the options of `add_sampler_options`.
        device: that a model of this process is put on.
        options: of a server's sampler.
    """
    backend = backend_of(args)
    if (backend == "server") != bool(args.base_url):
        raise ConfigError("--base-url and the server back end belong together; give both, or neither.")
    if backend == "server":
        from genrlhf.sampling import ServerSampler

        return ServerSampler(args.model, base_url=args.base_url, extra_body=args.extra_body, **options)
    if backend == "vllm":
        from genrlhf.sampling import VLLMSampler

        return VLLMSampler(args.model, dtype=args.dtype, trust_remote_code=args.trust_remote_code)
    from genrlhf.models import ensure_pad_token, load_causal_lm, load_tokenizer
    from genrlhf.sampling import TransformersSampler

    model = load_causal_lm(
        args.model, model_init_kwargs={"dtype": args.dtype}, trust_remote_code=args.trust_remote_code
    )
    tokenizer = load_tokenizer(args.model, trust_remote_code=args.trust_remote_code)
    ensure_pad_token(tokenizer, model)
    return TransformersSampler(
        model.to(device).eval(), tokenizer, batch_size=args.batch_size, max_batch_tokens=args.max_batch_tokens
    )
