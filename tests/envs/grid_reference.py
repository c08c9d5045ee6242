"""A grid world in plain NumPy, object by object."""

import numpy as np

from renga.envs._grid import DIRECTIONS


class Reference:
    """One step of a grid world, object by object. The numbers in [0, 1) are given."""

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
        reward, ended, before = 0.0, False, list(self.present)
        for i, cell in enumerate(self.cells):
            if before[i] and cell == reached:
                reward += float(level.rewards[i])
                ended |= bool(u_end[i] < level.terminations[i])
                self.present[i] = False
            if not before[i] and level.exists[i] and u_back[i] < level.respawns[i]:
                self.present[i] = True
        return reward, ended
