"""The games that a process keeps: lists of moves under random names."""

import secrets
from collections import OrderedDict


class GoneError(Exception):
    """There is no such game, or no longer."""

    def __init__(self, message: str, dropped: bool):
        super().__init__(message)
        self.dropped = dropped


class Store:
    """Keeps the games that were used last.

    Args:
      most: how many.
    """

    def __init__(self, most: int):
        self.most = most
        self._games: OrderedDict[str, tuple[int, ...]] = OrderedDict()
        self._dropped: OrderedDict[str, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._games)

    def add(self, moves: tuple[int, ...]) -> str:
        """Keeps a game, drops the one that was longest unused if there are too many, and returns its name."""
        name = secrets.token_urlsafe(12)
        self._games[name] = moves
        if len(self._games) > self.most:
            self._dropped[self._games.popitem(last=False)[0]] = None
            if len(self._dropped) > 10 * self.most:
                self._dropped.popitem(last=False)
        return name

    def moves(self, name: str) -> tuple[int, ...]:
        """The moves of a game.

        Raises:
          GoneError: if there is none of that name.
        """
        if name not in self._games:
            dropped = name in self._dropped
            why = f"it was dropped: the newest {self.most} are kept" if dropped else "there is no game of that name"
            raise GoneError(f"{why}; begin a new game", dropped)
        self._games.move_to_end(name)
        return self._games[name]

    def replace(self, name: str, moves: tuple[int, ...]) -> None:
        """Writes the moves of a game that is kept."""
        self.moves(name)
        self._games[name] = moves

    def newest(self, count: int) -> list[tuple[int, ...]]:
        """The moves of the games that were used last; not their names, which allow to go on with them."""
        return list(reversed(self._games.values()))[:count]
