"""A grid world in plain NumPy, object by object."""

import numpy as np

from renga.envs._grid import DIRECTIONS


class Reference:
    """One step of a grid world, object by object. The numbers in [0, 1) are given: one for the end, one an object."""

    def __init__(self, level, state):
        self.level = level
        self.walls = np.asarray(level.walls)
        self.where = divmod(int(state.position), self.walls.shape[1])
        self.cells = [divmod(int(c), self.walls.shape[1]) for c in state.cells]
        self.present = [bool(p) for p in state.present]

    def free(self, row, column):
        height, width = self.walls.shape
        return 0 <= row < height and 0 <= column < width and not self.walls[row, column]

    def step(self, action, u_end, u_back):
        level, directed = self.level, self.level.actions == 18
        row, column = np.add(self.where, DIRECTIONS[action % 9])
        target = (int(row), int(column))
        if directed and action >= 9:
            reached = target if 0 <= row < self.walls.shape[0] and 0 <= column < self.walls.shape[1] else self.where
        else:
            if self.free(row, column):
                self.where = target
            reached = None if directed else self.where
        reward, going_on, before = 0.0, 1.0, list(self.present)
        for i, cell in enumerate(self.cells):
            if before[i] and cell == reached:
                reward += float(level.rewards[i])
                going_on *= 1.0 - float(level.terminations[i])
                self.present[i] = False
            if not before[i] and level.exists[i] and u_back[i] < level.respawns[i]:
                self.present[i] = True
        return reward, bool(u_end >= going_on)

    def put(self, cells, came_back):
        """Takes the cells that objects came back to, once they are seen to be free; no other may have moved."""
        for i, cell in enumerate(cells):
            place = divmod(int(cell), self.walls.shape[1])
            if came_back[i]:
                others = [c for j, c in enumerate(self.cells) if j < i and self.present[j]]
                others += [c for j, c in enumerate(self.cells) if j > i and self.present[j] and not came_back[j]]
                assert self.free(*place)
                assert place != self.where
                assert place not in others
                self.cells[i] = place
            assert place == self.cells[i]
