"""Types of parameter trees, for annotations."""

from collections.abc import Mapping, MutableMapping
from typing import Any

# Parameters: module name -> parameter name -> array.
Params = Mapping[str, Mapping[str, Any]]
# State: module name -> state name -> array.
State = Mapping[str, Mapping[str, Any]]
# Parameters that may be changed in place.
MutableParams = MutableMapping[str, MutableMapping[str, Any]]
# State that may be changed in place.
MutableState = MutableMapping[str, MutableMapping[str, Any]]
