"""Types of parameter trees, for annotations."""

from collections.abc import Mapping, MutableMapping
from typing import Any

Params = Mapping[str, Mapping[str, Any]]
State = Mapping[str, Mapping[str, Any]]
MutableParams = MutableMapping[str, MutableMapping[str, Any]]
MutableState = MutableMapping[str, MutableMapping[str, Any]]
