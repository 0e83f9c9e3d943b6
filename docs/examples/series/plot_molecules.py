"""
Molecules in and out of a code
==============================

A molecule written as a string (SMILES) is a sequence of tokens: atoms, bonds, brackets, digits that close rings. A
variational autoencoder of such sequences gives every molecule a few numbers, turns numbers into molecules, and draws
new ones [1]_.

.. [1] Gómez-Bombarelli et al. (2018). Automatic chemical design using a data-driven continuous representation of
   molecules. ACS Central Science 4(2).
"""

# %%
# The data: small molecules put together at random, so that the example needs no download. A chain of carbon, oxygen and
# nitrogen has side groups; some begin or end with a ring.

import re

import matplotlib.pyplot as plt
import numpy as np
from sklearn.decomposition import PCA

from sk_autoenc import Recurrent, VAETransformer, Vocabulary

rng = np.random.default_rng(0)
RINGS, ATOMS = ["C1CCCC1", "C1CCCCC1", "c1ccccc1"], ["C", "C", "C", "O", "N"]
GROUPS = ["(C)", "(F)", "(Cl)", "(=O)", "(O)", "(N)"]


def molecule() -> str:
    """A chain, never with two atoms other than carbon side by side, and side groups at carbons alone."""
    parts, last = [], "C"
    for _ in range(rng.integers(2, 6)):
        last = rng.choice(ATOMS) if last == "C" else "C"
        parts.append(last + (rng.choice(GROUPS) if last == "C" and rng.random() < 0.3 else ""))
    ring = rng.choice(RINGS) if rng.random() < 0.6 else "C"
    return "".join([ring, *parts]) if rng.random() < 0.5 else "".join([*parts, "C", ring])


strings = np.unique([molecule() for _ in range(4000)])
rng.shuffle(strings)
train, test = strings[:1600], strings[1600:2000]
print(len(strings), "different ones, such as", *train[:4])

# %%
# Strings to rows
# ---------------
# :class:`~sk_autoenc.Vocabulary` cuts strings into tokens, here with ``Cl`` as one of them, and numbers these. Cells
# after the end of a string are NaN.

vocabulary = Vocabulary("Cl|.", max_length=30)
X_train, X_test = vocabulary.fit_transform(train), vocabulary.transform(test)
print(vocabulary.tokens_)
print(train[0], X_train[0])

# %%
# A distribution of molecules
# ---------------------------
# ``likelihood="categorical"`` makes a :class:`~sk_autoenc.Recurrent` architecture read and write tokens. ``beta`` below
# 1 lets codes say more: a decoder that knows what it has written can do much without them.

vae = VAETransformer(
    8,
    architecture=Recurrent(48, unequal_lengths=True),
    likelihood="categorical",
    beta=0.1,
    learning_rate=0.01,
    max_iter=40,
    random_state=0,
).fit(X_train)
made = vocabulary.inverse_transform(vae.reconstruct(X_test))
print(f"{np.mean(made == test):.0%} of held-out molecules come back without an error; for example")
for before, after in zip(test[:4], made[:4], strict=True):
    print(f"{before:>22}  ->  {after}")

# %%
# All strings have probabilities. A string that is no molecule of this kind has a low one.

odd = ["CCCCCC", "CC(=O)CC", "CCOOOOCC", "CC((CC", "C1CCC"]
for string, nats in zip(odd, vae.score_samples(vocabulary.transform(odd)), strict=True):
    print(f"{string:>10} {nats:7.1f} nats")

# %%
# New ones
# --------
# What can be counted says how good draws are: brackets in pairs, rings closed, no bond or side group without an atom.


def is_well_formed(string: str) -> bool:
    """Whether brackets and ring bonds come in pairs, and side groups are at an atom."""
    pairs = string.count("(") == string.count(")") and string.count("1") in (0, 2)
    return pairs and re.search(r"^[(=1]|=$|\(\(|\(\)|=[=)1]", string) is None


drawn = vocabulary.inverse_transform(vae.sample(500, random_state=0))
print(f"well-formed: {np.mean([is_well_formed(s) for s in drawn]):.0%}")
print(f"different: {len(set(drawn)) / len(drawn):.0%}")
print(f"new: {np.mean(~np.isin(drawn, train)):.0%}")
print(*drawn[:6], sep="\n")

# %%
# On the way from one molecule to another, the codes between two codes are decoded:

print(*vocabulary.inverse_transform(vae.interpolate(X_test[0], X_test[1], 6)), sep="\n")

# %%
# What codes know
# ---------------
# No code was told of rings, yet two principal axes of the codes tell molecules with an aromatic ring from others.

codes = PCA(2).fit_transform(vae.transform(X_test))
kind = np.array(["aromatic ring" if "c" in s else "other ring" if "1" in s else "no ring" for s in test])
figure, axes = plt.subplots()
for name in np.unique(kind):
    axes.scatter(*codes[kind == name].T, s=8, label=name)
axes.set(xlabel="first axis of the codes", ylabel="second axis")
axes.legend()
plt.show()
