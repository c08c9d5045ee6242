"""Searching: the two models in the form that `renga.search` asks for, and its policies."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from renga import envs, search
from renga.search import ChanceRecurrentFnOutput, DecisionRecurrentFnOutput, RecurrentFnOutput, RootFnOutput
from renga.systems.muzero._config import Config
from renga.systems.muzero._networks import Networks


class Plan(NamedTuple):
    """What a search came to.

    Attributes:
      action: what to do, [B].
      policy: what the policy should be, [B, A].
      value: what the state is worth to the player to move, [B].
      tree: the whole search.
      candidates: what the actions stand for where they are continuous, [B, A, D]; else None.
    """

    action: Int[Array, " B"]
    policy: Float[Array, "B A"]
    value: Float[Array, " B"]
    tree: search.Tree
    candidates: Float[Array, "B A D"] | None = None


class Planner(NamedTuple):
    """A model, and the search in it.

    Attributes:
      root: parameters, a key, states of the environment or None, observations, legal actions → where a search begins.
      step: the model, a `recurrent_fn` of `renga.search`; with chance nodes a pair of them, of decisions and of chance.
      config: the settings of the search.
      sampled: whether actions are numbers of candidates that each state has of its own.
    """

    root: Callable[..., RootFnOutput]
    step: Any
    config: Config
    sampled: bool

    def plan(
        self,
        params: PyTree,
        key: PRNGKeyArray,
        root: RootFnOutput,
        legal: Bool[Array, "B A"],
        *,
        noise: float = 1.0,
        temperature: Any = 0.0,
        simulations: int | None = None,
        tree: search.Tree | None = None,
    ) -> Plan:
        """Searches from a batch of roots.

        Args:
          params: of the networks.
          key: a key.
          root: where to begin.
          legal: which actions are.
          noise: 1 to explore, as in learning; 0 for the best that the search finds.
          temperature: of the visits, for PUCT.
          simulations: how many; None for what is configured.
          tree: what is known from searches before, of `kept`.
        """
        config = self.config
        simulations = config.simulations if simulations is None else simulations
        options: dict[str, Any] = {
            "num_simulations": simulations,
            "invalid_actions": ~legal,
            "max_depth": config.max_depth or None,
            "num_parallel": config.waves if simulations % config.waves == 0 else 1,
        }
        gumbel = config.policy == "gumbel"
        if gumbel:
            scales = {"value_scale": config.value_scale, "rescale_values": config.rescale_values}
            completed = functools.partial(search.qtransform_completed_by_mix_value, **scales)
            options |= {"gumbel_scale": noise, "qtransform": completed}
            options["max_num_considered_actions"] = config.considered
        else:
            options |= {"dirichlet_fraction": config.root_noise * noise, "dirichlet_alpha": config.root_alpha}
            options["temperature"] = temperature
        if config.chance:
            out = search.stochastic_muzero_policy(params, key, root, *self.step, gumbel=gumbel, **options)
        elif gumbel:
            out = search.gumbel_muzero_policy(params, key, root, self.step, tree=tree, **options)
        else:
            out = search.muzero_policy(params, key, root, self.step, tree=tree, **options)
        candidates = root.embedding[1] if self.sampled else None
        return Plan(out.action, out.action_weights, _value(config, out), out.search_tree, candidates)

    def kept(self, tree: search.Tree, action: Int[Array, " B"], state: PyTree, last: Bool[Array, " B"]) -> search.Tree:
        """What was searched behind the move that was made, with room for a search more.

        A game that ended starts anew, and so does one that chance led to another state than the search was in. Where
        more was searched than leaves that room, the newest nodes are dropped.

        Args:
          tree: of the search before the move.
          action: the move.
          state: of the environment after it.
          last: whether it ended an episode.
        """
        same = ~last
        if self.config.model == "true":

            def is_child(tree: search.Tree, action: Array, state: PyTree) -> Bool[Array, ""]:
                child = tree.children_index[0, action]
                return _equal(jax.tree.map(lambda x: x[child], tree.embeddings), state)

            same &= jax.vmap(is_child)(tree, action, state)
        gone = tree.children_index.shape[-1]  # no action: such an element starts anew
        room = self.config.simulations
        kept = search.reroot(tree, jnp.where(same, action, gone), capacity=2 * room + 1, room=room)
        return kept.replace(extra_data=None)  # noise of the search before


def _equal(a: PyTree, b: PyTree) -> Bool[Array, ""]:
    return jnp.all(jnp.stack([jnp.all(x == y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)]))


def _value(config: Config, out: search.PolicyOutput) -> Float[Array, " B"]:
    """The mean of all visits; for Gumbel's search, whose visits compare moves evenly, the value of its policy.

    v = Σₐ π′(a) q(a) / Σₐ π′(a)   over the moves that were visited
    """
    summary = out.search_tree.summary()
    if config.policy == "puct":
        return summary.value
    weights = jnp.where(summary.visit_counts > 0, out.action_weights, 0.0)
    total = jnp.sum(weights, -1)
    mean = jnp.sum(weights * summary.qvalues, -1) / jnp.where(total > 0, total, 1.0)
    return jnp.where(total > 0, mean, summary.value)


def planner(config: Config, env: envs.Environment, networks: Networks) -> Planner:
    """The learned model, or the environment itself, with its afterstates or without."""
    sampled = networks.sampled is not None
    if sampled:
        make = _sampled_model
    elif config.chance:
        make = _code_model if config.model == "learned" else _chance_model
    else:
        make = _true_model if config.model == "true" else _learned_model
    root, *steps = make(config, env, networks)
    return Planner(root, tuple(steps) if config.chance else steps[0], config, sampled)


def _learned_model(config: Config, env: envs.Environment, networks: Networks):
    """States are those of the networks; which actions are legal is known at the root alone."""

    def root(
        params: PyTree, key: PRNGKeyArray, state: PyTree, observation: Array, legal: Bool[Array, "B A"]
    ) -> RootFnOutput:
        del key, state, legal
        h = networks.represent(params, observation)
        out = networks.predict(params, h)
        return RootFnOutput(prior_logits=out.logits, value=out.value, embedding=h)

    def step(params: PyTree, key: PRNGKeyArray, action: Array, h: Array) -> tuple[RecurrentFnOutput, Array]:
        del key
        return _moved(config, env, networks, params, h, action)

    return root, step


def _sampled_model(config: Config, env: envs.Environment, networks: Networks):
    """The learned model where actions are continuous: an action is the number of one of K candidates of the state.

    Every state is kept with its candidates, and the prior over them makes up for how they were drawn.
    """
    root_of, step_of = _learned_model(config, env, networks)
    sampled = networks.sampled
    assert sampled is not None

    def root(
        params: PyTree, key: PRNGKeyArray, state: PyTree, observation: Array, legal: Bool[Array, "B A"]
    ) -> RootFnOutput:
        out = root_of(params, key, state, observation, legal)
        candidates, logits = sampled.candidates(key, jnp.asarray(out.prior_logits))
        return RootFnOutput(prior_logits=logits, value=out.value, embedding=(out.embedding, candidates))

    def step(
        params: PyTree, key: PRNGKeyArray, number: Array, state: tuple[Array, Array]
    ) -> tuple[RecurrentFnOutput, tuple[Array, Array]]:
        h, candidates = state
        out, h = step_of(params, key, jax.vmap(lambda x, i: x[i])(candidates, number), h)
        candidates, logits = sampled.candidates(key, jnp.asarray(out.prior_logits))
        return RecurrentFnOutput(reward=out.reward, discount=out.discount, prior_logits=logits, value=out.value), (
            h,
            candidates,
        )

    return root, step


def ending_moves(
    env: envs.Environment, key: PRNGKeyArray, state: PyTree, legal: Bool[Array, "B A"]
) -> tuple[Bool[Array, "B A"], Float[Array, "B A"]]:
    """Which legal actions end the game in each state, and the reward of each action."""
    result = lambda key, state, action: env.step(key, state, action)[1]
    every = jax.vmap(jax.vmap(result, (None, None, 0)), (0, 0, None))
    out = every(jax.random.split(key, len(legal)), state, jnp.arange(legal.shape[-1], dtype=jnp.int32))
    return legal & out.terminated, out.reward


def _true_model(config: Config, env: envs.Environment, networks: Networks):
    """States are the environment's; it is never stepped past the end of an episode."""

    def judged(
        params: PyTree, key: PRNGKeyArray, state: PyTree, observation: Array, legal: Bool[Array, "B A"]
    ) -> tuple[Array, Array]:
        """Logits and value of states; with lookahead, better ones by the rewards of the actions that end a game:

        v′ = max(v, maxₐ r(a)),   logits′(a) = logits(a) + c_visit c_scale (r(a) − v)   over these actions

        Where every legal action ends the game, v′ is the largest reward.
        """
        logits, value = _evaluate(networks, params, observation, legal)
        if not config.lookahead or state is None:
            return logits, value
        ends, reward = ending_moves(env, key, state, legal)
        best = jnp.max(jnp.where(ends, reward, -jnp.inf), -1)
        known = jnp.any(ends, -1) & jnp.all(ends | ~legal, -1)
        gain = 50 * config.value_scale * (reward - value[:, None])
        return jnp.where(ends, logits + gain, logits), jnp.where(known, best, jnp.maximum(value, best))

    def root(
        params: PyTree, key: PRNGKeyArray, state: PyTree, observation: Array, legal: Bool[Array, "B A"]
    ) -> RootFnOutput:
        logits, value = judged(params, key, state, observation, legal)
        return RootFnOutput(
            prior_logits=logits,
            value=value,
            embedding=state,
            invalid_actions=~legal,
            terminal=jnp.zeros(value.shape, bool),
            to_play=None if state is None else jax.vmap(env.to_play)(state),  # nobody steps on without a state
        )

    def step(params: PyTree, key: PRNGKeyArray, action: Array, state: PyTree) -> tuple[RecurrentFnOutput, PyTree]:
        key, key_look = jax.random.split(key)
        keys = jax.random.split(key, action.shape[0])
        mover = jax.vmap(env.to_play)(state)
        after, out = jax.vmap(env.step)(keys, state, action)
        legal, to_play = jax.vmap(env.legal_actions)(after), jax.vmap(env.to_play)(after)
        logits, value = judged(params, key_look, after, out.observation, legal)
        # A state in which an episode is cut is worth something, but nothing can be searched behind it.
        cut = out.truncated & ~out.terminated
        beyond = jnp.where(cut, config.discount * jnp.where(to_play == mover, value, -value), 0.0)
        return RecurrentFnOutput(
            reward=out.reward + beyond,
            discount=jnp.where(out.last, 0.0, config.discount),
            prior_logits=logits,
            value=jnp.where(out.last, 0.0, value),
            invalid_actions=~legal,
            terminal=out.last,
            to_play=to_play,
        ), after

    return root, step


def _chance_model(config: Config, env: envs.Environment, networks: Networks):
    """States are the environment's. A decision leads to an afterstate, and an outcome that it lists to the next state.

        q(s, a) = r(s, a) + v(s′)   of an afterstate s′ that was not searched further

    Of outcomes that are equally probable, which comes first is drawn for each afterstate.
    """

    def root(
        params: PyTree, key: PRNGKeyArray, state: PyTree, observation: Array, legal: Bool[Array, "B A"]
    ) -> RootFnOutput:
        del key
        logits, value = _evaluate(networks, params, observation, legal)
        return RootFnOutput(prior_logits=logits, value=value, embedding=state)

    def decide(
        params: PyTree, key: PRNGKeyArray, action: Array, state: PyTree
    ) -> tuple[DecisionRecurrentFnOutput, tuple[PyTree, Array]]:
        after, reward = jax.vmap(env.afterstate)(state, action)
        probs = jax.vmap(env.outcomes)(after)
        seen = networks.represent(params, jax.vmap(env.observe)(after))
        return DecisionRecurrentFnOutput(
            chance_logits=jnp.log(probs) + 1e-3 * jax.random.uniform(key, probs.shape),
            afterstate_value=reward + networks.judge_afterstate(params, seen).value,
        ), (after, jax.vmap(env.to_play)(state))

    def chance(
        params: PyTree, key: PRNGKeyArray, outcome: Array, after: tuple[PyTree, Array]
    ) -> tuple[ChanceRecurrentFnOutput, PyTree]:
        del key
        state, out = jax.vmap(env.resolve)(after[0], outcome)
        legal = jax.vmap(env.legal_actions)(state)
        logits, value = _evaluate(networks, params, out.observation, legal)
        same = jax.vmap(env.to_play)(state) == after[1]
        discount = jnp.where(same, config.discount, -config.discount)
        cut = out.truncated & ~out.terminated
        return ChanceRecurrentFnOutput(
            action_logits=logits,
            value=jnp.where(out.last, 0.0, value),
            reward=out.reward + jnp.where(cut, discount * value, 0.0),
            discount=jnp.where(out.last, 0.0, discount),
        ), state

    return root, decide, chance


def _code_model(config: Config, env: envs.Environment, networks: Networks):
    """The learned model with chance: a decision leads to an afterstate, and a code of chance to the next state."""
    root_of, _ = _learned_model(config, env, networks)

    def decide(params: PyTree, key: PRNGKeyArray, action: Array, h: Array) -> tuple[DecisionRecurrentFnOutput, Array]:
        del key
        after = networks.decide(params, h, action)
        out = networks.judge_afterstate(params, after)
        assert out.chance_logits is not None
        return DecisionRecurrentFnOutput(chance_logits=out.chance_logits, afterstate_value=out.value), after

    def chance(params: PyTree, key: PRNGKeyArray, code: Array, after: Array) -> tuple[ChanceRecurrentFnOutput, Array]:
        del key
        out, h = _moved(config, env, networks, params, after, jax.nn.one_hot(code, config.codes))
        return ChanceRecurrentFnOutput(
            action_logits=out.prior_logits, value=out.value, reward=out.reward, discount=out.discount
        ), h

    return root_of, decide, chance


def _moved(
    config: Config, env: envs.Environment, networks: Networks, params: PyTree, h: Array, a: Array
) -> tuple[RecurrentFnOutput, Array]:
    """Where the learned model leads."""
    after = networks.dynamics(params, h, a)
    out = networks.predict(params, after.state)
    turns = jnp.where(after.turn_logit > 0, -1.0, 1.0) if env.num_players > 1 else 1.0
    discount = config.discount * turns * jnp.ones_like(out.value)
    return RecurrentFnOutput(
        reward=after.reward, discount=discount, prior_logits=out.logits, value=out.value
    ), after.state


def _evaluate(networks: Networks, params: PyTree, observation: Array, legal: Array) -> tuple[Array, Array]:
    """Logits of the legal actions, and the value."""
    out = networks.predict(params, networks.represent(params, observation))
    return jnp.where(legal, out.logits, jnp.finfo(out.logits.dtype).min), out.value
