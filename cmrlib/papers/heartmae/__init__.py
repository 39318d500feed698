"""HeartMAE: masked autoencoding of cine clips, its loss weighted by where the section moves; embeddings of hearts.

Kim et al., "HeartMAE: Advancing Cardiac MRI Analysis through Optical Flow Guided Masked Autoencoding". An
encoder (ViT) sees a tenth of a clip's tokens and a light decoder restores the rest; the encoder, frozen, gives features
of many views of a heart, pooled by gated attention for many tasks at once.

    embedder = Embedder(*load_model("runs/full/07_heartmae_pretrain/weights/flow")[:2])
    embedder.embed(cine, k)          # (views, width)

Where the paper is silent, and what we do:

* optimiser AdamW with betas .95 to .85 and .99, rate up over 15 % of the epochs (30 of its 200) and down by a cosine;
  all weights decay by .05; weights are averaged over the steps, and the average is kept. Only the rate, the warm-up of
  30 epochs and the decay are printed there; at 100 epochs the warm-up is 15, too;
* decoder of four blocks, 512 wide, as in the video MAE that it follows; no class token: a clip's feature is the mean
  over its tokens and, beside it, their mean, their change and their second moments where the section moves (`pooled`);
  position embeddings, separate for space and time, start as sines and cosines;
* normalised pixel space: divided by the cine's maximum, then standardised by the training set; `patch_norm`
  standardises each token by itself;
* a cine shorter than a clip goes round its cycle again; crops are counted in the image's pixels, as there, or in
  millimetres (`spacing_mm`), so that archives of other pixel sizes look alike;
* flow goes round the cycle, so that there are L / 5 pairs, as its formula says; σ = 10 in the image's own pixels or in
  those of the resized clip (`Flow.resized_to`);
* the checkpoint that variants start from is chosen by LVEF on validation subjects (there "on the task of ejection
  fraction prediction");
* crops that coincide (square images) are computed once; features are standardised by the training subjects before
  pooling; heads learn by AdamW, epochs and weight decay chosen on validation subjects; `batch_size=1` is the paper's;
  2CH, 4CH and SAX are pooled apart (`by_view`), a step sees two thirds of a subject's views, drawn anew each time
  (`views_share`), and the average of the weights counts;
* the network of natural videos is any of torchvision's, from a local file, in place of their ViT-L.
"""

from cmrlib.papers.heartmae.bags import comparator_bags, model_bags, open_embedders
from cmrlib.papers.heartmae.clips import Preprocessing, section_table
from cmrlib.papers.heartmae.comparators import (
    COMPARATORS,
    MotionPicture,
    NaturalVideo,
    principal_bags,
    table_bags,
)
from cmrlib.papers.heartmae.domains import distance_table, domain_distances, domain_map, domain_rows, frechet_distance
from cmrlib.papers.heartmae.evidence import Blinded, attribution, blinded_table
from cmrlib.papers.heartmae.features import (
    Embedder,
    feature_shards,
    feature_table,
    learn_axes,
    make_bags,
    mean_features,
)
from cmrlib.papers.heartmae.flow import Flow, flow_shards, flow_weights
from cmrlib.papers.heartmae.heads import Fitted, HeadRecipe, Tasks, fit_heads
from cmrlib.papers.heartmae.learning import VARIANTS, Recipe, load_model, pretrain, random_model, save_model
from cmrlib.papers.heartmae.masking import Masking, target_frames
from cmrlib.papers.heartmae.network import Design, MaskedAutoencoder
from cmrlib.papers.heartmae.pretraining import train_variants
from cmrlib.papers.heartmae.restoration import explained, restoration_table, restore
from cmrlib.papers.heartmae.study import (
    MODELS,
    attention_shares,
    disease_table,
    error_table,
    gain_pct,
    headline,
    over_tasks,
    predict_all,
)
from cmrlib.papers.heartmae.targets import (
    EJECTION,
    body_targets,
    cardiac_targets,
    disease_targets,
    enough_positives,
    expert_features,
    usable,
)

__all__ = [
    "COMPARATORS",
    "EJECTION",
    "MODELS",
    "VARIANTS",
    "Blinded",
    "Design",
    "Embedder",
    "Fitted",
    "Flow",
    "HeadRecipe",
    "MaskedAutoencoder",
    "Masking",
    "MotionPicture",
    "NaturalVideo",
    "Preprocessing",
    "Recipe",
    "Tasks",
    "attention_shares",
    "attribution",
    "blinded_table",
    "body_targets",
    "cardiac_targets",
    "comparator_bags",
    "disease_table",
    "disease_targets",
    "distance_table",
    "domain_distances",
    "domain_map",
    "domain_rows",
    "enough_positives",
    "error_table",
    "expert_features",
    "explained",
    "feature_shards",
    "feature_table",
    "fit_heads",
    "flow_shards",
    "flow_weights",
    "frechet_distance",
    "gain_pct",
    "headline",
    "learn_axes",
    "load_model",
    "make_bags",
    "mean_features",
    "model_bags",
    "open_embedders",
    "over_tasks",
    "predict_all",
    "pretrain",
    "principal_bags",
    "random_model",
    "restoration_table",
    "restore",
    "save_model",
    "section_table",
    "table_bags",
    "target_frames",
    "train_variants",
    "usable",
]
