# %% [markdown]
# # The karate club
#
# From the labels of two nodes, a graph convolutional network predicts which of two clubs the other 32 members
# joined when theirs split. The graph comes with networkx. `renga train graph --task karate` trains the same
# task ({doc}`/graph/learning`).

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import networkx
import numpy as np

from renga import graph, nn, optim

STEPS = 200  # quick: 5

club = networkx.karate_club_graph()
truth = np.array([club.nodes[node]["club"] != "Mr. Hi" for node in club]).astype(int)
leaders = jnp.array([0, 33])

# %% [markdown]
# Edge e goes from `senders[e]` to `receivers[e]`. Each friendship is two edges, and each node has an edge to
# itself. The only feature of a node is its one-hot index.

# %%
pairs = np.array([pair for edge in club.edges for pair in (edge, edge[::-1])])
nodes = np.eye(34, dtype=np.float32)
members = graph.GraphsTuple(
    nodes=nodes,
    edges=None,
    senders=np.concatenate([pairs[:, 0], np.arange(34)]),
    receivers=np.concatenate([pairs[:, 1], np.arange(34)]),
    globals=None,
    n_node=np.array([34]),
    n_edge=np.array([len(pairs) + 34]),
)


# %%
def model(g):
    hidden = graph.GCN(nn.Linear(8))(g)
    hidden = hidden._replace(nodes=jnp.tanh(hidden.nodes))
    places = graph.GCN(nn.Linear(2))(hidden).nodes
    return places, nn.Linear(2)(jnp.tanh(places))


network = nn.without_apply_rng(nn.transform(model))
params = network.init(jax.random.key(1), members)
optimiser = optim.adam(0.02)


def loss_fn(params):
    _, logits = network.apply(params, members)
    return optim.softmax_cross_entropy_with_integer_labels(logits[leaders], truth[leaders]).mean()


@jax.jit
def train(params):
    def step(carry, _):
        params, state = carry
        loss, grads = jax.value_and_grad(loss_fn)(params)
        updates, state = optimiser.update(grads, state, params)
        params = optim.apply_updates(params, updates)
        return (params, state), (loss, network.apply(params, members))

    return jax.lax.scan(step, (params, optimiser.init(params)), None, length=STEPS)


_, (losses, (places, logits)) = train(params)
right = (logits.argmax(-1) == truth).sum(1)
print(f"right: {right[-1]} of 34")

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
colours = np.where(truth, "tab:orange", "tab:blue")
layout = networkx.spring_layout(club, seed=3)
for axis, at, title in (
    (axes[0], np.array([layout[node] for node in club]), "the club"),
    (axes[1], np.asarray(places[-1]), "where the network puts its members"),
):
    for a, b in club.edges:
        axis.plot(*at[[a, b]].T, color="0.85", lw=0.7, zorder=0)
    wrong = np.asarray(logits[-1].argmax(1)) != truth
    axis.scatter(*at.T, c=colours, s=60, edgecolors=np.where(wrong, "red", "white"), linewidths=1.5)
    axis.scatter(*at[[0, 33]].T, marker="*", c="black", s=40)
    axis.set_title(title)
    axis.axis("off")
figure.savefig("karate.png", dpi=120)

# %% [markdown]
# ![The graph, and the two-dimensional last hidden layer](karate.png)
#
# Colours are the clubs that members joined; stars are the two leaders, whose labels were given. A red border
# marks a wrong prediction.
