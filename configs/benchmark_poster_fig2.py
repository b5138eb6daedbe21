"""VQGanoDIP over the nine industrial sets of the poster's second figure.

Source: Bougaham et al., Composite Score for Anomaly Detection, Machine Learning 2023. The poster's
    rows (ad_core/reporting/published/poster.json) stand beside ours.
Data: a folder a set below --config.root=DIR (cable/ or mvtec_cable/, ..., in MVTec AD's layout), or
    without it each where its recipe has it (data/mvtec/cable, ..., data/pcba). The set PCBA is the
    authors' own and not published: pcba/ are boards of yours.
Command: python launch/benchmark.py --config=configs/benchmark_poster_fig2.py --workdir=runs/fig2
Methods: vqgan; untrained, the same without a step of training; blur, where nothing is learnt.
    Extra trees decide; the other classifiers that the poster names have rows of their own.
Measured: transistor and screw, three seeds, size cpu: docs/poster.md.
"""

BENCHMARK = {
    "name": "poster_fig2",
    "title": "Figure 2 of the poster: VQGanoDIP on industrial sets",
    "protocol": "vqganodip",
}
PUBLISHED = "fig2"
CATEGORIES = ("cable", "carpet", "grid", "hazelnut", "leather", "screw", "transistor", "zipper")
SETS = {"pcba": {"recipe": "pcba.py"}} | {
    name: {"recipe": f"mvtec.py:{name}", "folders": (f"mvtec_{name}", f"mvtec/{name}")}
    for name in CATEGORIES
}
TREES = {"decision": {"classifier": "extra_trees"}}
METHODS = {
    "vqgan": {
        "title": "VQGanoDIP",
        "method": "vqgan_ad.vqgan",
        "settings": TREES,
        "classifiers": ("logistic_regression", "ada_boost", "xgboost", "lightgbm"),
    },
    "untrained": {
        "title": "statistics of an untrained VQGAN",
        "method": "vqgan_ad.vqgan",
        "settings": TREES | {"train": {"steps": 0}},
    },
    "blur": {
        "title": "statistics of a fixed blur",
        "method": "baselines_ad.blur",
        "settings": TREES | {"statistics": {"names": ("all",)}},
        "cpu": {"data": {"image_size": 64}},
    },
}
