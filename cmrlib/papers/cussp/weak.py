"""Weak labels after Fries et al., Nat Commun 2019: rules on measurements vote, a label model weighs the votes."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from cmrlib.measures.names import indexed_name

ABSTAIN = -1


@dataclass(frozen=True)
class Rule:
    """Votes 1 above the quantile `high` of all subjects, 0 below the quantile `low`, and abstains between.

    sign −1 turns the measure round. what: a measure (its indexed column is read), or the difference of two (`a - b`).
    """

    what: str
    sign: int = 1
    high: float = 0.85
    low: float = 0.5


RULES = (Rule("la_max_ml"), Rule("lasv_ml"), Rule("lvedv_ml"), Rule("lvsv_ml - rvsv_ml"))
"""A leaking mitral valve enlarges LA and LV, more flows into the LA, and the LV pumps more than the RV (section 1).

Ours, and few: the label model takes voters to err independently, so several measures of one large atrium would outvote
the rest.
"""


def votes(table: pd.DataFrame, rules=RULES) -> pd.DataFrame:
    """(subjects, rules) of 1, 0 and ABSTAIN, indexed by participant_id. table: of `measured_features`.

    Quantiles are those of the table itself: no label is looked at. Rules whose measures are missing abstain.
    """
    rows = table.set_index("participant_id")
    found = {}
    for rule in rules:
        one, _, other = rule.what.partition(" - ")
        one, other = indexed_name(one), indexed_name(other) if other else ""
        if one not in rows or (other and other not in rows):
            continue
        value = rule.sign * (rows[one] - (rows[other] if other else 0))
        high, low = value.quantile(rule.high), value.quantile(rule.low)
        found[f"{'low ' if rule.sign < 0 else ''}{rule.what}"] = np.select(
            [value >= high, value <= low], [1, 0], ABSTAIN
        )
    if not found:
        raise ValueError(f"none of the measures {[rule.what for rule in rules]} is in the table")
    return pd.DataFrame(found, index=rows.index)


class LabelModel:
    """Dawid and Skene's model of voters who err independently (Appl Stat 1979), fitted by EM without any label.

    prevalence is given, not learned: from votes alone nobody can tell which of two classes is which. Each voter has a
    chance of each vote (0, 1, abstain) in each class. sharpness: prior counts that hold voters at better than chance.
    """

    def __init__(self, prevalence: float, iterations: int = 100, sharpness: float = 2.0):
        if not 0 < prevalence < 1:
            raise ValueError(f"the prevalence must lie between 0 and 1, got {prevalence}")
        self.prevalence, self.iterations, self.sharpness = prevalence, iterations, sharpness
        self.chances, self.names = None, None

    def fit(self, votes: pd.DataFrame) -> "LabelModel":
        self.names, onehot = list(votes.columns), _onehot(votes)
        agreed = onehot[..., 1].sum(1) - onehot[..., 0].sum(1)
        posterior = 1 / (1 + np.exp(-(agreed + np.log(self.prevalence / (1 - self.prevalence)))))
        prior = 1 + self.sharpness * np.array([[1.0, 0, 0], [0, 1.0, 0]])  # (class, vote)
        for _ in range(self.iterations):
            weights = np.stack([1 - posterior, posterior])  # (class, subjects)
            counts = np.einsum("cn,nvk->vck", weights, onehot) + prior
            self.chances = counts / counts.sum(2, keepdims=True)  # (voters, class, vote)
            updated = self._posterior(onehot)
            if np.abs(updated - posterior).max() < 1e-8:
                break
            posterior = updated
        return self

    def predict(self, votes: pd.DataFrame) -> pd.Series:
        """participant_id → probability of the positive class; who got no vote has about the prevalence."""
        if list(votes.columns) != self.names:
            raise ValueError(f"fitted on the rules {self.names}, got {list(votes.columns)}")
        return pd.Series(self._posterior(_onehot(votes)), index=votes.index, name="probability")

    def _posterior(self, onehot):
        logs = np.einsum("nvk,vck->nc", onehot, np.log(self.chances)) + np.log([1 - self.prevalence, self.prevalence])
        return 1 / (1 + np.exp(logs[:, 0] - logs[:, 1]))

    def accuracies(self) -> pd.DataFrame:
        """A row a rule: its estimated sensitivity and specificity where it votes, and how often it votes."""
        said = self.chances[:, :, :2] / self.chances[:, :, :2].sum(2, keepdims=True)
        voting = (self.chances[:, :, :2].sum(2) * [1 - self.prevalence, self.prevalence]).sum(1)
        return pd.DataFrame(
            {"rule": self.names, "sensitivity": said[:, 1, 1], "specificity": said[:, 0, 0], "votes": voting}
        )


def _onehot(votes):
    """(subjects, rules, 3): 0, 1, abstain."""
    values = np.where(votes.to_numpy() == ABSTAIN, 2, votes.to_numpy())
    return np.eye(3)[values]


def weak_labels(measured: pd.DataFrame, roles: pd.Series, labels: pd.Series) -> tuple[pd.Series, pd.DataFrame]:
    """(participant_id → probability of unlabelled subjects, accuracies of the rules): rules vote on measurements of
    training and unlabelled subjects, the label model weighs them.

    The prevalence is that of the labelled training subjects. `sensitivity_train`, `specificity_train`: against their
    labels, as a check.
    """
    trained, seen = (roles.index[roles.isin(sides)] for sides in (["train"], ["train", "unlabelled"]))
    cast = votes(measured[measured["participant_id"].isin(seen)])
    model = LabelModel(float(labels[trained].mean())).fit(cast)
    table, own = model.accuracies(), cast.reindex(trained).dropna()
    for value, name in ((1, "sensitivity_train"), (0, "specificity_train")):
        part = own[labels[own.index].to_numpy() == value]
        table[name] = [(part[rule] == value).sum() / max((part[rule] >= 0).sum(), 1) for rule in cast]
    return model.predict(cast[roles[cast.index].to_numpy() == "unlabelled"]), table
