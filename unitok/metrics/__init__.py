"""Scores as pure functions, one field a file; each with a worked example and a reference in the tests.

`NAMES` is what `TaskConfig.metrics` may hold; the evaluation refuses those that do not suit a task's target.
"""

NAMES: dict[str, str] = {
    "bits": "bits per token of the truth; nothing is generated",
    "bits_per_byte": "bits per UTF-8 byte of the true text; nothing is generated",
    # text that is one of few answers
    "accuracy": "share of right answers, with macro F1 and calibration error",
    "macro_f1": "F1 averaged over classes",
    "auroc": "area under the ROC curve from the answers' probabilities, one class against the rest",
    # free text
    "exact_match": "share of answers equal to the truth",
    "chrf": "character n-grams",
    "bleu": "word n-grams, precision",
    "rouge_l": "longest common subsequence of words",
    "cider": "word n-grams weighed by rarity",
    "wer": "word error rate",
    "cer": "character error rate",
    # text that is a number; MAE and RMSE of forecasts too
    "mae": "mean absolute error",
    "rmse": "root of the mean squared error",
    "r2": "share of the variance explained",
    # what a small network trained on real items makes of generated ones
    "judge": "share recognised as what was asked for",
    "count": "share of sounds or series with as many bursts or spikes as the record says",
    # images
    "psnr": "peak signal-to-noise ratio",
    "ssim": "structural similarity",
    "frechet": "Frechet distance on the model's own features",
    # sound
    "log_mel": "distance of log-mel spectrograms",
    "si_sdr": "scale-invariant signal-to-distortion ratio",
    "stoi": "short-time objective intelligibility",
    # forecasts
    "mase": "mean absolute scaled error of the median forecast",
    "mse": "mean squared error of the median forecast",
    "smape": "symmetric percentage error of the median forecast",
    "crps": "continuous ranked probability score",
    "wql": "weighted quantile loss",
    "coverage": "share of the truth inside the 80 % band",
    # graphs
    "validity": "share of valid graphs (molecules)",
    "uniqueness": "share of distinct graphs",
    "novelty": "share of graphs that training does not hold",
    "properties": "share of graphs with every property that the inputs state",
    "isomorphic": "share of graphs equal to the truth up to relabelling",
    "smiles": "share of molecules, as graphs or written, whose canonical SMILES is the truth's",
    "degree_mmd": "distance of degree distributions",
    "wl_mmd": "distance under the Weisfeiler-Lehman kernel",
    # boxes
    "map": "mean average precision over IoU 0.50 to 0.95",
    "ap50": "mean average precision at IoU 0.50",
}
