# %% [markdown]
# # Tic-tac-toe with search only
#
# Batched tree search without a network: the model is the game itself, and the value of a position is the
# result of a random game from it. 128 games are played at once against an opponent with random moves.
# {doc}`/muzero` uses networks instead of random games.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from renga import search

SIMULATIONS = (4, 16, 64, 256)  # quick: (2,)
GAMES = 128  # quick: 4

# %% [markdown]
# A board has nine cells: 1 for the player to move, −1 for the other one. After a move the signs are swapped.

# %%
LINES = jnp.array([[0, 1, 2], [3, 4, 5], [6, 7, 8], [0, 3, 6], [1, 4, 7], [2, 5, 8], [0, 4, 8], [2, 4, 6]])


def move(board, action):
    """Returns the board as the other player sees it, the mover's reward, and whether the game is over."""
    board = board.at[action].set(1)
    won = (board[LINES].sum(1) == 3).any()
    return -board, won.astype(jnp.float32), won | (board != 0).all()


def random_action(key, board):
    return jax.random.categorical(key, jnp.where(board == 0, 0.0, -jnp.inf))


def random_game(key, board, over):
    """What a random game brings the player to move."""

    def step(carry, key):
        board, over, sign, total = carry
        after, reward, ends = move(board, random_action(key, board))
        total += jnp.where(over, 0.0, sign * reward)
        return (jnp.where(over, board, after), over | ends, -sign, total), None

    start = (board, over, 1.0, 0.0)
    return jax.lax.scan(step, start, jax.random.split(key, 9))[0][3]


# %% [markdown]
# The search calls one function for the result of a move. A discount of −1 means that the other player moves
# next; `terminal` marks the end of the game.


# %%
def recurrent_fn(params, key, action, board):
    board, reward, over = jax.vmap(move)(board, action)
    value = jax.vmap(random_game)(jax.random.split(key, len(action)), board, over)
    output = search.RecurrentFnOutput(
        reward=reward,
        discount=jnp.where(over, 0.0, -1.0),
        prior_logits=jnp.zeros((len(action), 9)),
        value=value,
        invalid_actions=(board != 0) & ~over[:, None],
        terminal=over,
    )
    return output, board


def think(key, board, simulations):
    key_value, key_search = jax.random.split(key)
    over = jnp.zeros(len(board), bool)
    root = search.RootFnOutput(
        prior_logits=jnp.zeros((len(board), 9)),
        value=jax.vmap(random_game)(jax.random.split(key_value, len(board)), board, over),
        embedding=board,
        invalid_actions=board != 0,
    )
    return search.muzero_policy(
        (), key_search, root, recurrent_fn, simulations, dirichlet_fraction=0.0, temperature=0.0
    )


def play(key, simulations):
    """Plays games as the second player; returns who won: 1, 0 or −1."""

    def step(carry, key):
        board, over, result, turn = carry
        key_random, key_think = jax.random.split(key)
        safe = jnp.where(over[:, None], 0, board)
        at_random = jax.vmap(random_action)(jax.random.split(key_random, GAMES), safe)
        action = jax.lax.cond(turn == 1, lambda: think(key_think, safe, simulations).action, lambda: at_random)
        after, reward, ends = jax.vmap(move)(safe, action)
        result += jnp.where(over, 0.0, jnp.where(turn == 1, reward, -reward))
        return (jnp.where(over[:, None], board, after), over | ends, result, 1 - turn), None

    start = (jnp.zeros((GAMES, 9), jnp.int32), jnp.zeros(GAMES, bool), jnp.zeros(GAMES), 0)
    return jax.lax.scan(step, start, jax.random.split(key, 9))[0][2]


results = {n: np.asarray(jax.jit(play, static_argnums=1)(jax.random.key(0), n)) for n in SIMULATIONS}
for simulations, result in results.items():
    print(f"{simulations:3} simulations: {(result == 1).mean():.2f} won, {(result == -1).mean():.2f} lost")

# %% [markdown]
# The visits of the search in four positions. X is to move.

# %%
boards = jnp.array(
    [
        [0, 0, 0, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, -1, -1, 0, 0, 0, 0],
        [-1, -1, 0, 0, 1, 0, 0, 0, 0],
        [-1, 0, 0, 0, 1, 0, 0, 0, -1],
    ]
)
thought = jax.jit(think, static_argnums=2)(jax.random.key(1), boards, 4 * SIMULATIONS[-1])
visits = thought.search_tree.summary().visit_probs
figure, axes = plt.subplots(1, 5, figsize=(10, 2.2), layout="constrained", width_ratios=(1, 1, 1, 1, 1.6))
for axis, board, share, best in zip(axes, boards, visits, thought.action, strict=False):
    axis.imshow(share.reshape(3, 3), cmap="Greens", vmin=0, vmax=1)
    for place, stone in enumerate(np.asarray(board)):
        row, column = divmod(place, 3)
        text, weight = ("·XO"[stone], "bold") if stone else (f"{share[place]:.2f}", "normal")
        axis.text(column, row, text, ha="center", va="center", weight=weight, fontsize=14 if stone else 8)
    axis.add_patch(plt.Rectangle((best % 3 - 0.5, best // 3 - 0.5), 1, 1, fill=False, ec="tab:red", lw=2))
    axis.set(xticks=(), yticks=())
bottom = np.zeros(len(results))
for outcome, name, colour in ((1, "won", "tab:green"), (0, "drawn", "0.8"), (-1, "lost", "tab:red")):
    share = np.array([(result == outcome).mean() for result in results.values()])
    axes[4].bar([str(n) for n in results], share, bottom=bottom, label=name, color=colour)
    bottom += share
axes[4].set_xlabel("simulations a move")
axes[4].legend(fontsize=7, loc="lower right")
figure.savefig("tic_tac_toe.png", dpi=120)

# %% [markdown]
# ![Visit fractions in four positions, and results of games against a random opponent](tic_tac_toe.png)
#
# Numbers are fractions of visits; the red frame marks the chosen move. The bars count games in which the
# random opponent moves first.
