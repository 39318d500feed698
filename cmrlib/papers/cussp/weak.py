"""Weak labels after Fries et al., Nat Commun 2019: rules on measurements vote, a label model weighs the votes."""

import numpy as np
import pandas as pd

from cmrlib.measures.names import indexed_name

ABSTAIN = -1

RULES = ("la_max_ml", "lasv_ml", "lvedv_ml", "lvsv_ml - rvsv_ml")
"""A leaking mitral valve enlarges LA and LV, more flows into the LA, and the LV pumps more than the RV (section 1): a
measure (its indexed column is read), or the difference of two.

Ours, and few: the label model takes voters to err independently, so several measures of one large atrium would outvote
the rest.
"""

SHARPNESS = 2.0
"""Prior counts that hold voters at better than chance."""


def votes(table: pd.DataFrame, rules=RULES, high: float = 0.85, low: float = 0.5) -> pd.DataFrame:
    """(subjects, rules) of 1 from the quantile `high` of all subjects on, 0 up to the quantile `low`, and ABSTAIN
    between and without a value, indexed by participant_id. table: of `measured_features`. No label is looked at."""
    rows, found = table.set_index("participant_id"), {}
    for rule in rules:
        first, *second = (rows[indexed_name(name)] for name in rule.split(" - "))
        value = first - (second[0] if second else 0)
        found[rule] = np.select([value >= value.quantile(high), value <= value.quantile(low)], [1, 0], ABSTAIN)
    return pd.DataFrame(found, index=rows.index)


def label_model(votes: pd.DataFrame, prevalence: float, iterations: int = 100) -> tuple[pd.Series, np.ndarray]:
    """Dawid and Skene's model of voters who err independently (Appl Stat 1979), fitted by EM without any label.

    prevalence is given, not learned: from votes alone nobody can tell which of two classes is which. Returns the
    probability of the positive class by participant_id (who got no vote has about the prevalence), and (rules, class,
    vote) each rule's chance of each vote (0, 1, abstain) in each class.
    """
    if not 0 < prevalence < 1:
        raise ValueError(f"the prevalence must lie between 0 and 1, got {prevalence}")
    onehot = np.eye(3)[votes.to_numpy()]  # (subjects, rules, vote); ABSTAIN, −1, is the last
    agreed = onehot[..., 1].sum(1) - onehot[..., 0].sum(1)
    positive = 1 / (1 + np.exp(-(agreed + np.log(prevalence / (1 - prevalence)))))
    for _ in range(iterations):
        counts = np.einsum("cn,nvk->vck", np.stack([1 - positive, positive]), onehot) + 1 + SHARPNESS * np.eye(2, 3)
        chances = counts / counts.sum(2, keepdims=True)
        logs = np.einsum("nvk,vck->nc", onehot, np.log(chances)) + np.log([1 - prevalence, prevalence])
        before, positive = positive, 1 / (1 + np.exp(logs[:, 0] - logs[:, 1]))  # Bayes' rule
        if np.abs(positive - before).max() < 1e-8:
            break
    return pd.Series(positive, index=votes.index, name="probability"), chances


def weak_labels(measured: pd.DataFrame, roles: pd.Series, labels: pd.Series) -> tuple[pd.Series, pd.DataFrame]:
    """(participant_id → probability of unlabelled subjects, a row per rule): rules vote on measurements of training and
    unlabelled subjects, the label model weighs them; the prevalence is that of the labelled training subjects.

    Of each rule: its estimated sensitivity and specificity where it votes, how often it votes, and, as a check,
    sensitivity_train and specificity_train against the training labels.
    """
    trained, seen = (roles.index[roles.isin(sides)] for sides in (["train"], ["train", "unlabelled"]))
    cast, prevalence = votes(measured[measured["participant_id"].isin(seen)]), float(labels[trained].mean())
    probability, chances = label_model(cast, prevalence)
    voting, own = chances[:, :, :2].sum(2), cast.reindex(trained).dropna()
    right = {"sensitivity": chances[:, 1, 1] / voting[:, 1], "specificity": chances[:, 0, 0] / voting[:, 0]}
    table = pd.DataFrame({"rule": list(cast)} | right | {"votes": voting @ [1 - prevalence, prevalence]})
    for value, name in ((1, "sensitivity_train"), (0, "specificity_train")):
        part = own[labels[own.index] == value]
        table[name] = ((part == value).sum() / (part != ABSTAIN).sum().clip(lower=1)).to_numpy()
    return probability[roles[cast.index].to_numpy() == "unlabelled"], table
