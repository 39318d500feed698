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


def votes(table: pd.DataFrame, rules=RULES, high: float = 0.85, low: float = 0.5) -> pd.DataFrame:
    """(subjects, rules) of 1 from the quantile `high` of all subjects on, 0 up to the quantile `low`, and ABSTAIN
    between, indexed by participant_id. table: of `measured_features`.

    No label is looked at. A rule whose measures are missing abstains; raises ValueError where they are no columns.
    """
    rows, found = table.set_index("participant_id"), {}
    for rule in rules:
        measures = [indexed_name(name) for name in rule.split(" - ")]
        if lacking := set(measures) - set(rows):
            raise ValueError(f"rule {rule!r}: the table lacks {', '.join(sorted(lacking))}")
        value = rows[measures[0]].sub(rows[measures[1]] if measures[1:] else 0)
        found[rule] = np.select([value >= value.quantile(high), value <= value.quantile(low)], [1, 0], ABSTAIN)
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
        voting = self.chances[:, :, :2].sum(2)  # (voters, class)
        specificity, sensitivity = self.chances[:, 0, 0] / voting[:, 0], self.chances[:, 1, 1] / voting[:, 1]
        table = {"rule": self.names, "sensitivity": sensitivity, "specificity": specificity}
        return pd.DataFrame(table | {"votes": voting @ [1 - self.prevalence, self.prevalence]})


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
