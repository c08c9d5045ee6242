"""MuZero and AlphaZero: acting with search, replay and learning in one compiled step.

Read it in the order that data flows: `act` plays games with a search for each move, `remember` stores the moves, `draw`
samples sequences and computes their targets, `learn` takes a gradient step. The parts have files of their own:
settings (`_config`), what the phases share (`_state`), networks (`_networks`), the two models and the search in them
(`_planning`), targets (`_targets`), opponents (`_opponents`) and evaluation (`_learned`, `_judging`).

A value is from the view of the player to move, a reward is that of the player who moved, and the sign of the discount
says whether the next move is another player's. With one player all signs are +.

Differs from Schrittwieser et al. 2020 (https://arxiv.org/abs/1911.08265):
  * Gumbel's search is the default (Danihelka et al. 2022), whose policy targets need neither visits nor noise;
  * layer norm in place of batch norm, AdamW in place of momentum, and small networks;
  * games are stepped inside the compiled update, a fixed number of gradient steps for each move;
  * the first moves of a game may be uniformly random (`random_opening`): then values are bootstrapped, and positions
    that good players never reach are learned too;
  * in games of two players a separate head learns which player moves next;
  * with chance nodes (Antonoglou et al. 2022) an environment that lists its outcomes of chance can be the model itself;
    in a learned model the code of chance is told from the next observation alone, without noise, and the entropy of the
    codes' use is rewarded, for else one code often does for all;
  * with continuous actions (Hubert et al. 2021), some of the candidates of each state are sampled uniformly, and
    Gumbel's search compares the candidates by default.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from renga import envs, optim, search
from renga.data import DrawnSequences, importance_weights
from renga.loop import shard_batch
from renga.systems._reinforcement import episode_metrics
from renga.systems.muzero import _networks, _planning
from renga.systems.muzero._agent import Agent, Thought, load
from renga.systems.muzero._config import PRESETS, Config, has_codes, unrolled
from renga.systems.muzero._learned import advise, evaluate, export, networks, played_by
from renga.systems.muzero._state import State, System, optimiser_of, system_of
from renga.systems.muzero._targets import Move, Targets, targets, value_targets

STEPS = 5_000


# ---------------------------------------------------------------- acting


def act(
    config: Config, system: System, state: State, key: PRNGKeyArray
) -> tuple[State, tuple[Move, Bool[Array, " B"]]]:
    """Makes one move in every game; returns also the moves, and which games they end.

    Args:
      config: the settings.
      system: that of `system_of`.
      state: the games at hand, and the parameters that search in them.
      key: a key.
    """
    env, planner, networks = system.env, system.planner, system.networks
    sampled = networks.sampled
    key_root, key_plan, key_even, key_opening, key_env = jax.random.split(key, 5)
    observation, mover = env.observe(state.env), env.to_play(state.env)
    legal = env.legal_actions(state.env) if sampled is None else jnp.ones((config.num_envs, sampled.num), bool)
    root = planner.root(state.searching, key_root, state.env.state, observation, legal)
    trained = jnp.minimum(state.step / max(config.decay_steps, 1), 1.0)
    temperature = config.temperature + trained * (config.last_temperature - config.temperature)
    plan = planner.plan(state.searching, key_plan, root, legal, temperature=temperature, tree=state.tree)
    action = plan.action.astype(jnp.int32)
    if config.policy == "puct" and config.temperature_moves:
        late = state.env.episode_length >= config.temperature_moves
        action = jnp.where(late, jnp.argmax(plan.policy, -1).astype(jnp.int32), action)
    random = state.env.episode_length < state.opening
    even = _drawn_evenly(config, system, key_even, state.env.state, legal)
    action = jnp.where(random, even, action)

    # What is done: the action itself, or the candidate of this number.
    done = action if plan.candidates is None else jax.vmap(lambda x, i: x[i])(plan.candidates, action)

    running, step = env.step(key_env, state.env, done if sampled is None else sampled.action(done))
    same = jnp.ones(config.num_envs, bool) if step.to_play is None else step.to_play == mover
    signed = jnp.where(same, config.discount, -config.discount)
    cut = step.truncated & ~step.terminated

    def value_of_end() -> Float[Array, " B"]:
        return networks.predict(state.searching, networks.represent(state.searching, step.observation)).value

    v_end = jax.lax.cond(jnp.any(cut), value_of_end, lambda: jnp.zeros(config.num_envs))  # seldom needed
    move = Move(
        observation=observation,
        legal=legal,
        action=done,
        reward=step.reward,
        discount=jnp.where(step.last, 0.0, signed),
        beyond=jnp.where(cut, signed * v_end, 0.0),
        terminated=step.terminated,
        policy=jnp.where(legal, plan.policy, 0.0),
        value=plan.value,
        random=random,
        state=state.env.state if config.model == "true" and (config.reanalyse or config.chance) else None,
        candidates=plan.candidates,
    )
    opening = jnp.where(step.last, _openings(config, key_opening), state.opening)
    tree = planner.kept(plan.tree, action, running.state, step.last) if config.keep_tree else None
    return state._replace(env=running, opening=opening, tree=tree), (move, step.last)


def _drawn_evenly(config: Config, system: System, key: PRNGKeyArray, state: PyTree, legal: Array) -> Int[Array, " B"]:
    """One legal action of each game; with lookahead one that does not end it, if any: late positions are rare."""
    if config.lookahead:
        ends, _ = _planning.ending_moves(system.env.env, key, state, legal)
        legal = jnp.where(jnp.any(legal & ~ends, -1, keepdims=True), legal & ~ends, legal)
    return jax.random.categorical(key, jnp.where(legal, 0.0, -jnp.inf)).astype(jnp.int32)


def _openings(config: Config, key: PRNGKeyArray) -> Int[Array, " B"]:
    """How many moves of each game are drawn evenly: any number up to the most."""
    return jax.random.randint(key, (config.num_envs,), 0, config.random_opening + 1)


def remember(system: System, state: State, moves: Move, last: Bool[Array, "T B"]) -> State:
    """Keeps T moves of every game in place of the oldest."""
    return state._replace(replay=system.replay.add(state.replay, moves, last))


# ---------------------------------------------------------------- learning


class Batch(NamedTuple):
    """Stretches of games.

    Attributes:
      observations: what was seen in their first states, [B, K + 1, ...]; [B, 1, ...] if no others are needed.
      targets: what is to be learned in the first K + 1.
      weights: how much each stretch counts, [B]; 1 where they are drawn evenly.
      errors: |ν − z| of their first states, [B].
      indices: where they stand in a prioritised replay, [B].
      afterstates: what is seen of the afterstates of their first moves, [B, ...], where a search has chance nodes.
    """

    observations: Array
    targets: Targets
    weights: Float[Array, " B"]
    errors: Float[Array, " B"]
    indices: Int[Array, " B"] | None = None
    afterstates: Array | None = None


def draw(config: Config, system: System, state: State, key: PRNGKeyArray) -> Batch:
    """Takes stretches of games from replay, with the targets of each.

    Args:
      config: the settings.
      system: that of `system_of`.
      state: the replay, and the parameters that search anew where the config asks for it.
      key: a key.
    """
    K, B = unrolled(config), config.batch_size
    key_sample, key_past, key_turn, key_search = jax.random.split(key, 4)
    drawn = system.replay.sample(state.replay, key_sample, B)
    weights, indices = jnp.ones(B), None
    if isinstance(drawn, DrawnSequences):
        size = system.replay.num_sequences(state.replay)
        weights, indices = importance_weights(drawn.probabilities, size, config.importance_exponent), drawn.indices
    moves, same_game, weights = shard_batch((drawn.items, drawn.mask, weights))
    if config.bootstrap == "network":
        moves = moves._replace(value=valued_anew(config, system, state.searching, moves))
    if config.reanalyse:
        moves = reanalysed(config, system, state.searching, moves, key_search)
    make = lambda moves, same, key: targets(moves, same, K, config.td_steps, config.td_lambda, key)
    want = jax.vmap(make)(moves, same_game, jax.random.split(key_past, B))
    later = config.consistency_cost or has_codes(config)
    seen = moves.observation[:, : K + 1] if later else moves.observation[:, :1]
    errors = jnp.abs(moves.value[:, 0] - want.value[:, 0])
    batch = Batch(seen, want, weights, errors, indices)
    if config.chance and config.model == "true":
        first = jax.tree.map(lambda x: x[:, 0], (moves.state, moves.action))
        afterstates, _ = jax.vmap(system.env.env.afterstate)(*first)
        batch = batch._replace(afterstates=jax.vmap(system.env.env.observe)(afterstates))
    symmetries = system.env.env.symmetries if config.symmetries and moves.candidates is None else None
    return batch if symmetries is None else turned(symmetries, batch, key_turn)


def valued_anew(config: Config, system: System, params: PyTree, moves: Move) -> Float[Array, "B L"]:
    """The values of the moves of some stretches, with those that targets are bootstrapped from by other parameters.

    Before a move that was drawn evenly the value stays that of the search, for it is itself the target there.

    Args:
      config: the settings.
      system: that of `system_of`.
      params: of the networks, those of today.
      moves: the stretches.
    """
    first = 1 if config.td_lambda < 1 else config.td_steps  # n-step returns are bootstrapped from the n-th on
    later = moves.observation[:, first:]
    v = system.networks.predict(params, system.networks.represent(params, later.reshape(-1, *later.shape[2:]))).value
    old = moves.value[:, first:]
    return moves.value.at[:, first:].set(jnp.where(moves.random[:, first:], old, v.reshape(old.shape)))


def reanalysed(config: Config, system: System, params: PyTree, moves: Move, key: PRNGKeyArray) -> Move:
    """Searches anew, with the parameters of today, in the first K + 1 states of a share of the stretches.

    Policies and values there are those of the new searches, and the values that targets are bootstrapped from those of
    the network. Which stretches are taken changes from call to call.

    References:
      Schrittwieser et al., "Online and offline reinforcement learning by planning with a learned model", 2021.
    """
    K, B, planner = unrolled(config), len(moves.value), system.planner
    key_choose, key_root, key_search = jax.random.split(key, 3)
    chosen = jax.random.permutation(key_choose, B)[: max(1, round(config.reanalyse * B))]
    flat = lambda x: x.reshape(-1, *x.shape[2:])
    first = jax.tree.map(lambda x: flat(x[chosen, : K + 1]), moves)
    root = planner.root(params, key_root, first.state, first.observation, first.legal)
    plan = planner.plan(params, key_search, root, first.legal)
    v = valued_anew(config, system, params, jax.tree.map(lambda x: x[chosen], moves))
    value = moves.value.at[chosen].set(v.at[:, : K + 1].set(plan.value.reshape(-1, K + 1)))
    policy = jnp.where(first.legal, plan.policy, 0.0).reshape(-1, K + 1, moves.policy.shape[-1])
    moves = moves._replace(value=value, policy=moves.policy.at[chosen, : K + 1].set(policy))
    if plan.candidates is None or moves.candidates is None:
        return moves
    anew = plan.candidates.reshape(-1, K + 1, *plan.candidates.shape[1:])
    return moves._replace(candidates=moves.candidates.at[chosen, : K + 1].set(anew))


def turned(symmetries: envs.Symmetries, batch: Batch, key: PRNGKeyArray) -> Batch:
    """Turns each stretch around in a way drawn evenly: what was seen, what was done, and what was to be done."""
    actions, policy, afterstates = batch.targets.actions, batch.targets.policy, batch.afterstates
    way = jax.random.randint(key, (len(policy),), 0, len(symmetries.action))
    places = jnp.asarray(symmetries.observation)[way]

    def turn(seen: Array) -> Array:
        flat = jnp.take_along_axis(seen.reshape(*seen.shape[:2], -1), places[:, None], axis=-1)
        return flat.reshape(seen.shape)

    becomes = jnp.asarray(symmetries.action)[way]
    comes_from = jnp.argsort(becomes, axis=-1)
    wanted = batch.targets._replace(
        actions=jnp.take_along_axis(becomes, actions, axis=-1).astype(actions.dtype),
        policy=jnp.take_along_axis(policy, comes_from[:, None], axis=-1),
    )
    afterstates = None if afterstates is None else turn(afterstates[:, None])[:, 0]
    return batch._replace(observations=turn(batch.observations), targets=wanted, afterstates=afterstates)


def loss_fn(config: Config, system: System, params: PyTree, batch: Batch) -> tuple[Array, dict[str, Array]]:
    """The loss and its parts, each a mean over stretches, by their weights:

        Σₖ wₖ [L_π + c_v L_v + c_r L_r + L_turn + c L_consistency],   w₀ = 1, wₖ = 1/K

    and c_v L_v of the first move's afterstate where a search has chance nodes in the environment itself. With codes of
    chance each unrolled move has also

        wₖ [c_v L_afterstate + L_chance + c_c ‖c − e‖² − c_u H(ē)]
        e = softmax(encoder(s_{t+k})),   c = one-hot(argmax e)

    where L_chance is the cross-entropy of σ with c, and H(ē) the entropy of the mean of e over the batch. Gradients
    pass c as if it were e. The gradient into a state that the model is unrolled from is halved at each move.
    """
    networks, want, K = system.networks, batch.targets, unrolled(config)
    two_players = system.env.env.num_players > 1
    parts: dict[str, Array] = {}

    def add(name: str, k: int, weight: Array, losses: Array) -> None:
        share = 1.0 if k == 0 else 1.0 / K
        parts[name] = parts.get(name, jnp.float32(0)) + share * jnp.mean(batch.weights * weight * losses)

    h = networks.represent(params, batch.observations[:, 0])
    for k in range(K + 1):
        if k > 0:
            h, by = optim.scale_gradient(h, 0.5), want.actions[:, k - 1]
            if has_codes(config):
                h = networks.decide(params, h, by)
                out = networks.judge_afterstate(params, h)
                e = jax.nn.softmax(networks.encode(params, batch.observations[:, k]))
                assert out.chance_logits is not None
                by, losses = _chance(out.chance_logits, e, want.turn_weight[:, k])
                for name, x in losses.items():
                    add(name, k, want.turn_weight[:, k], x)
                worth = want.afterstate[:, k - 1] + want.reward[:, k]
                judged = networks.code.cross_entropy(out.value_logits, worth)
                add("afterstate_loss", k, want.policy_weight[:, k - 1], judged)
            after = networks.dynamics(params, h, by)
            h, on = after.state, want.reward_weight[:, k]
            add("reward_loss", k, on, networks.code.cross_entropy(after.reward_logits, want.reward[:, k]))
            if two_players:
                turn_losses = jnp.logaddexp(0.0, after.turn_logit) - want.turn[:, k] * after.turn_logit
                add("turn_loss", k, want.turn_weight[:, k], turn_losses)
            if config.consistency_cost:
                unlike = _unlike(networks, params, h, batch.observations[:, k])
                add("consistency_loss", k, want.policy_weight[:, k], unlike)
        out = networks.predict(params, h)
        candidates = None if want.candidates is None else want.candidates[:, k]
        policy_losses = -jnp.sum(want.policy[:, k] * networks.log_probs(out.logits, candidates), -1)
        add("policy_loss", k, want.policy_weight[:, k], policy_losses)
        add("value_loss", k, want.value_weight[:, k], networks.code.cross_entropy(out.value_logits, want.value[:, k]))
    if batch.afterstates is not None:
        out = networks.judge_afterstate(params, networks.represent(params, batch.afterstates))
        losses = networks.code.cross_entropy(out.value_logits, want.afterstate[:, 0])
        add("afterstate_loss", 0, want.value_weight[:, 0], losses)
    costs = {"value_loss": config.value_cost, "afterstate_loss": config.value_cost, "reward_loss": config.reward_cost}
    costs |= {"consistency_loss": config.consistency_cost, "commitment_loss": config.commitment_cost}
    costs["usage_loss"] = config.usage_cost
    return sum((costs.get(name, 1.0) * x for name, x in parts.items()), jnp.float32(0)), parts


def _chance(
    logits: Float[Array, "B M"], e: Float[Array, "B M"], seen: Float[Array, " B"]
) -> tuple[Float[Array, "B M"], dict[str, Float[Array, " B"]]]:
    """The code of what chance did, and the losses of what is foreseen and of what is seen.

    Where nothing was seen, after the end of a game, it is the code that is foreseen first.

    Args:
      logits: σ, what is foreseen.
      e: what is told of the next observation.
      seen: 1 where the next observation is of the same game, else 0.
    """
    one_hot = lambda x: jax.nn.one_hot(jnp.argmax(x, -1), x.shape[-1])
    c = one_hot(e)
    mean = seen @ e / jnp.maximum(jnp.sum(seen), 1.0)
    losses = {
        "chance_loss": -jnp.sum(c * jax.nn.log_softmax(logits), -1),
        "commitment_loss": jnp.sum(jnp.square(c - e), -1),
        "usage_loss": jnp.full_like(seen, jnp.sum(jax.scipy.special.xlogy(mean, mean))),
    }
    told = c + e - jax.lax.stop_gradient(e)
    return jnp.where(seen[:, None] > 0, told, one_hot(logits)), losses


def _unlike(networks: _networks.Networks, params: PyTree, h: Array, observation: Array) -> Float[Array, " B"]:
    """Minus the cosine between what an unrolled state foresees and the state that is observed, a constant."""
    seen = jax.lax.stop_gradient(networks.project(params, networks.represent(params, observation)))
    return -optim.cosine_similarity(networks.foresee(params, networks.project(params, h)), seen, epsilon=1e-6)


def learn(
    config: Config, system: System, optimiser: optim.GradientTransformation, state: State, key: PRNGKeyArray
) -> tuple[State, dict[str, Array]]:
    """Takes one gradient step; returns also what it measured.

    Args:
      config: the settings.
      system: that of `system_of`.
      optimiser: that of `optimiser_of`, or another whose state `state.opt` is.
      state: the replay, the parameters and the optimiser's state.
      key: a key.
    """
    batch = draw(config, system, state, key)
    (loss, parts), grads = jax.value_and_grad(lambda params: loss_fn(config, system, params, batch), has_aux=True)(
        state.params
    )
    updates, opt = optimiser.update(grads, state.opt, state.params)
    params = optim.apply_updates(state.params, updates)
    metrics = {"loss": loss, **parts, "gradient_norm": optim.global_norm(grads), "value_error": jnp.mean(batch.errors)}
    told = system.networks.code.transform.apply(batch.targets.value)
    slack = 1e-4 * (config.max_value - config.min_value)
    beyond = (told < config.min_value - slack) | (told > config.max_value + slack)
    metrics["beyond_support"] = jnp.mean(beyond.astype(jnp.float32))
    if batch.indices is not None:
        kept = system.replay.update_priorities(state.replay, batch.indices, batch.errors + 1e-3)
        state = state._replace(replay=kept)
    return state._replace(params=params, opt=opt), metrics  # pyrefly: ignore[bad-return]


def _nothing_like(tree: search.Tree | None) -> search.Tree | None:
    """Trees of this shape in which nothing was searched yet."""
    if tree is None:
        return None
    empty = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), tree)
    none = {name: empty[name] - 1 for name in ("children_index", "parents", "action_from_parent")}
    return empty.replace(**none)


def make(config: Config):
    """Returns pure `init(key) -> state` and `step(state) -> (state, metrics)`."""
    system, optimiser = system_of(config), optimiser_of(config)

    def play(state: State, key: PRNGKeyArray, moves: int) -> tuple[State, dict[str, Array]]:
        """Makes some moves in every game, and keeps them."""
        one = lambda state, key: act(config, system, state, key)
        state, (made, last) = jax.lax.scan(one, state, jax.random.split(key, moves))
        return remember(system, state, made, last), {
            "search_value": jnp.mean(made.value),
            "policy_entropy": jnp.mean(-jnp.sum(jax.scipy.special.xlogy(made.policy, made.policy), -1)),
        }

    def init(key: PRNGKeyArray) -> State:
        key, key_params, key_env, key_opening, key_warmup = jax.random.split(key, 5)
        running = system.env.reset(key_env)
        params = system.networks.init(key_params, system.env.observe(running))
        opening = _openings(config, key_opening)
        state = State(key, jnp.int32(0), params, params, optimiser.init(params), running, opening, replay=())  # pyrefly: ignore[bad-argument-type]
        acted, (move, _) = jax.eval_shape(lambda: act(config, system, state, key))
        example = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), move)
        state = state._replace(replay=system.replay.init(example, config.num_envs), tree=_nothing_like(acted.tree))
        return play(state, key_warmup, -(-config.warmup // config.num_envs))[0]

    def step(state: State) -> tuple[State, dict[str, Any]]:
        key, key_play, key_learn = jax.random.split(state.key, 3)
        state, seen = play(state._replace(key=key), key_play, config.moves)
        one = lambda state, key: learn(config, system, optimiser, state, key)
        state, learned = jax.lax.scan(one, state, jax.random.split(key_learn, config.updates))
        searching = state.params
        if config.target_period:
            searching = optim.periodic_update(state.params, state.searching, state.step + 1, config.target_period)
        if config.ema:
            searching = optim.incremental_update(state.params, state.searching, 1.0 - config.ema)
        metrics = {
            **episode_metrics(state.env, config.moves),
            "games": jnp.sum(state.env.num_episodes).astype(jnp.float32),
            **seen,
            **jax.tree.map(jnp.mean, learned),
        }
        return state._replace(step=state.step + 1, searching=searching), metrics

    return init, step


__all__ = [
    "PRESETS",
    "STEPS",
    "Agent",
    "Batch",
    "Config",
    "Move",
    "State",
    "System",
    "Targets",
    "Thought",
    "act",
    "advise",
    "draw",
    "evaluate",
    "export",
    "learn",
    "load",
    "loss_fn",
    "make",
    "networks",
    "optimiser_of",
    "played_by",
    "reanalysed",
    "remember",
    "system_of",
    "targets",
    "turned",
    "value_targets",
    "valued_anew",
]
