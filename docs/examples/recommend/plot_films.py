"""
Recommend films
===============

A recommender reads which items users have, and ranks those that they do not have. Here are 24 invented films of four
kinds. Users like one or two of the kinds, and famous films more than others.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.sparse import csr_array

from sk_autoenc import AutoencoderRecommender
from sk_autoenc.metrics import fold_in_split, ndcg_at_k, recall_at_k

FILMS = {
    "space": ["Moon Harbour", "The Long Orbit", "Red Dust", "Signal Lost", "Station Nine", "Far Side"],
    "crime": ["Cold Alibi", "The Ledger", "Night Train", "Two Witnesses", "Paper Trail", "The Locksmith"],
    "romance": ["Letters in May", "The Violinist", "Rain on Sunday", "Second Waltz", "Blue Door", "Stay a While"],
    "cartoons": ["Otto the Otter", "Paper Dragons", "The Small King", "Bubble Town", "Robot Nanny", "Acorn Road"],
}
names = np.array([film for films in FILMS.values() for film in films])
kind = np.repeat(np.arange(4), 6)

rng = np.random.default_rng(0)
n_users = 1500
liking = np.where(rng.random((n_users, 4)) < 0.35, 1.0, 0.06)  # of each kind
fame = rng.uniform(0.25, 0.8, len(names))
X = csr_array(rng.random((n_users, len(names))) < liking[:, kind] * fame, dtype=float)
train, test = X[:1300], X[1300:]
print(f"{X.shape[0]} users, {X.shape[1]} films, {X.nnz / np.prod(X.shape):.0%} of the cells filled")

# %%
# One user
# --------
# ``recommend`` gives numbers of columns, the best first, without what the user has.

model = AutoencoderRecommender(8, learning_rate=0.005, max_iter=30, random_state=0).fit(train)
user = test[[3]]
print("has:        ", ", ".join(names[user.indices]))
print("recommended:", ", ".join(names[model.recommend(user, 5).items[0]]))
print("to a user without films:", ", ".join(names[model.recommend(csr_array((1, 24)), 3).items[0]]))
print("with Red Dust:", ", ".join(names[model.similar_items(2, 3).items[0]]))

# %%
# How well are hidden films found?
# --------------------------------
# A fifth of every new user's films is hidden. The network and EASE are averaged; ``blend=0`` and ``blend=1`` are the
# parts alone.

shown, hidden = fold_in_split(test, random_state=0)
popular = np.tile(model.item_popularity_, (test.shape[0], 1))
print(f"{'':12s} NDCG@10  Recall@5")
scores = {"popularity": popular, f"blend {model.blend_:g}": model.score_items(shown)}
for blend in (0, 1):
    alone = AutoencoderRecommender(8, blend=blend, learning_rate=0.005, max_iter=30, random_state=0).fit(train)
    scores[f"blend {blend}"] = alone.score_items(shown)
for name, score in scores.items():
    found = ndcg_at_k(hidden, score, 10, exclude=shown).mean(), recall_at_k(hidden, score, 5, exclude=shown).mean()
    print(f"{name:12s} {found[0]:7.3f}  {found[1]:8.3f}")

# %%
# Which films go together
# -----------------------
# The weights of EASE between films: rows give, columns receive. No film was labelled with its kind.

figure, axes = plt.subplots(figsize=(6, 5), layout="constrained")
weights = model.linear_weights_
image = axes.imshow(weights, cmap="RdBu_r", vmin=-np.abs(weights).max(), vmax=np.abs(weights).max())
axes.set_xticks(np.arange(4) * 6 + 2.5, list(FILMS))
axes.set_yticks(np.arange(4) * 6 + 2.5, list(FILMS))
figure.colorbar(image, label="weight")
