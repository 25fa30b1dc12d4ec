"""The Docker engine, as the rest of the program sees it; nobody outside this folder knows Docker."""

import sys
import warnings

# requests, below docker-py, would load a guesser of character sets (2.7 MiB); the engine's answers say theirs.
sys.modules.setdefault("charset_normalizer", None)  # type: ignore[arg-type]  # "None": is not to be imported
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # requests warns that it has no guesser.
    import requests  # noqa: F401
