"""A study of Optuna's: proposes settings from what earlier ones came to, and keeps them in a database."""

import contextlib
import math
import warnings
from collections.abc import Iterator
from typing import Any

from renga.loop._errors import RunError
from renga.loop._objective import Objective
from renga.loop._space import Choices, Range, Space


class Study:
    """Settings proposed by a tree-structured Parzen estimator (Bergstra et al. 2011).

    Several sweeps, on one machine or many, may share a study: each proposal then knows what all of them have found.
    """

    def __init__(self, space: Space, objective: Objective, storage: str, name: str, seed: int) -> None:
        """Opens a study, or begins it.

        Args:
          space: what is tried.
          objective: what settings are compared by.
          storage: the address of a database, as `sqlite:///study.db`.
          name: of the study in it.
          seed: of what is drawn.

        Raises:
          RunError: if Optuna is missing, the database cannot be opened, or the study there is one of something else.
        """
        try:
            import optuna
        except ModuleNotFoundError as error:
            raise RunError("--search tpe needs Optuna: pip install 'renga[all]'") from error
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._space = {field: _distribution(optuna, values) for field, values in space.items()}
        self._fail, self._pruned = optuna.trial.TrialState.FAIL, optuna.trial.TrialState.PRUNED
        self._trial = optuna.trial.Trial
        direction = "maximize" if objective.is_high else "minimize"
        with _quietly():
            sampler = optuna.samplers.TPESampler(seed=seed % 2**32, constant_liar=True)
            try:
                self._study = optuna.create_study(
                    storage=storage, study_name=name, sampler=sampler, direction=direction, load_if_exists=True
                )
            except Exception as error:  # of SQLAlchemy, or of a database's driver
                raise RunError(
                    f"--storage {storage!r} cannot be opened: {' '.join(str(error).split())[:200]}"
                ) from error
            about = {"metric": objective.metric, "space": {field: str(d) for field, d in sorted(self._space.items())}}
            there = self._study.user_attrs.get("about", about)
            if there != about or self._study.direction.name.lower() != direction:
                raise RunError(
                    f"the study {name!r} in {storage!r} is of {there}, not of {about}: name another with --study"
                )
            self._study.set_user_attr("about", about)

    def ask(self) -> tuple[int, dict[str, Any]]:
        """Proposes a setting; returns also its number in the study."""
        with _quietly():
            trial = self._study.ask(self._space)
        return trial.number, dict(trial.params)

    def tell(self, number: int, value: float, pruned: int = 0) -> None:
        """Says what a setting came to; NaN if it failed. A setting that was told of before stays as it is.

        Args:
          number: of the setting.
          value: what it came to.
          pruned: after which step it was stopped, if it was.

        Raises:
          RunError: if the study knows no such setting.
        """
        came_to: dict[str, Any] = {"state": self._fail} if math.isnan(value) else {"values": value}
        with _quietly():
            try:
                if pruned and not math.isnan(value):
                    self._report(number, value, pruned)
                    came_to = {"state": self._pruned}
                self._study.tell(number, **came_to, skip_if_finished=True)
            except ValueError as error:
                raise RunError(f"setting {number} is not in the study {self._study.study_name!r} any more") from error

    def _report(self, number: int, value: float, step: int) -> None:
        """Notes what a setting had come to when it was stopped, which the estimator goes by, too."""
        known = {trial.number: trial for trial in self._study.get_trials(deepcopy=False)}
        if number not in known:
            raise ValueError(f"no setting {number}")
        if not known[number].state.is_finished():
            self._trial(self._study, known[number]._trial_id).report(value, step)


def _distribution(optuna: Any, values: Choices | Range) -> Any:
    if isinstance(values, Choices):
        return optuna.distributions.CategoricalDistribution(values.values)
    if values.is_int:
        return optuna.distributions.IntDistribution(round(values.low), round(values.high), log=values.is_log)
    return optuna.distributions.FloatDistribution(values.low, values.high, log=values.is_log)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Optuna warns of what it calls experimental."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
