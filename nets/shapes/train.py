"""Train the embedded nets on procedural drawings: the classifier, then the generator inverting it.

    python nets/shapes/train.py [--part classifier|generator|evaluate] [--threads N]

Both are read, trained and saved through cnnpref itself, so what is trained is exactly what is run.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from draw import CLASSES, draw
from torch import Tensor, nn

from cnnpref import Net, load_caffe
from cnnpref.nets.caffe import save_caffemodel
from cnnpref.nets.kernels import fast_kernels

HERE = Path(__file__).parent
MEAN = (128.0, 128.0, 128.0)  # B, G, R: the mean of the drawings, rounded
POOL, TRAIN_SEED, TEST_SEED = 32768, 1, 2
SCALE = 64.0  # the nets train on images of about unit variance ...
CODE = 20.0  # ... and on codes of about unit range; both are folded into the weights at the end

CLASSIFIER_STEPS, CLASSIFIER_BATCH = 2500, 64
GENERATOR_STEPS, GENERATOR_BATCH = 1500, 32


def to_net(images: np.ndarray) -> Tensor:
    """RGB pictures (n, 64, 64, 3) 0..255 as the nets' input (n, 3, 64, 64): BGR minus mean."""
    x = torch.from_numpy(images[..., ::-1].copy()).permute(0, 3, 1, 2)  # stays channels last: fast
    return x.float() - torch.tensor(MEAN)[:, None, None]


def batches(steps: int, size: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Random training batches (n, 3, 64, 64), (n,); the colour channels change places."""
    images, labels = draw(POOL, TRAIN_SEED)
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        chosen = rng.integers(POOL, size=size)
        yield to_net(images[chosen][..., rng.permutation(3)]), torch.from_numpy(labels[chosen])


def initialise(net: Net, upwards: bool = False) -> list[Tensor]:
    """Weights by He's rule, biases 0; ready to learn. `upwards`: the net is a generator."""
    weights = list(net.parameters())
    for weight in weights:
        deconvolution = upwards and weight.ndim == 4  # (in, out, k, k), k = 4 where it doubles
        if weight.ndim > 1:
            fan_in = weight.numel() / weight.shape[1 if deconvolution else 0]
            doubles = deconvolution and weight.shape[-1] == 4
            nn.init.normal_(weight, std=(2 / fan_in) ** 0.5 * (2 if doubles else 1))
    return [weight.requires_grad_() for weight in weights]


def optimiser(
    weights: list[Tensor], rate: float, decay: float, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """AdamW that decays weights but not biases, and a one-cycle schedule."""
    matrices = [w for w in weights if w.ndim > 1]
    biases = [w for w in weights if w.ndim == 1]
    groups = [{"params": matrices, "weight_decay": decay}, {"params": biases, "weight_decay": 0.0}]
    adam = torch.optim.AdamW(groups, lr=rate)
    return adam, torch.optim.lr_scheduler.OneCycleLR(adam, rate, steps, pct_start=0.15)


def attacked(net: Net, x: Tensor, labels: Tensor, reach: float) -> Tensor:
    """`x` moved up the loss by a step of random length: nets that resist prefer clear images.

    The step's L2 norm is at most `reach` times 255.
    """
    x = x.detach().requires_grad_()
    loss = F.cross_entropy(net.forward({"data": x / SCALE}, ["fc8"])["fc8"], labels)
    (gradient,) = torch.autograd.grad(loss, x)
    length = gradient.flatten(1).norm(dim=1)[:, None, None, None] + 1e-12
    return (x + gradient / length * 255 * reach * torch.rand_like(length)).detach()


def train_classifier() -> None:
    """Classes from attacked images; the code must also tell a thumbnail, so it keeps colours."""
    torch.manual_seed(TRAIN_SEED)
    net = load_caffe(HERE / "shapes.prototxt", mean=MEAN)
    weights = initialise(net)
    conv1, fc6, fc6_bias, fc8, fc8_bias = weights[0], *weights[-4:]
    with torch.no_grad():
        conv1.copy_(2 * F.avg_pool2d(conv1, 3, 1, 1))  # smooth filters from the start
    thumbnail = nn.Linear(len(fc6), 3 * 16 * 16)
    adam, schedule = optimiser([*weights, *thumbnail.parameters()], 2e-3, 0.05, CLASSIFIER_STEPS)
    for step, (x, labels) in enumerate(batches(CLASSIFIER_STEPS, CLASSIFIER_BATCH, TRAIN_SEED)):
        noisy = x + 15 * torch.rand(len(x), 1, 1, 1) * torch.randn_like(x)
        hard = attacked(net, noisy, labels, min(2.0, step / 250))
        code = net.forward({"data": hard / SCALE}, ["fc6"])["fc6"]
        logits = F.linear(F.dropout(code, 0.2), fc8, fc8_bias)
        small = F.adaptive_avg_pool2d(x / SCALE, 16).flatten(1)
        class_loss = F.cross_entropy(logits, labels)
        colour_loss = F.mse_loss(thumbnail(code), small)
        adam.zero_grad()
        (class_loss + 0.5 * colour_loss).backward()
        adam.step()
        schedule.step()
        report(step, CLASSIFIER_STEPS, classes=class_loss, thumbnail=colour_loss)
    with torch.no_grad():
        conv1 /= SCALE
        ratio = CODE / code_range(net).mean()
        for weight in (fc6, fc6_bias):
            weight *= ratio
        fc8 /= ratio
    save_caffemodel(net, HERE / "shapes.caffemodel")
    (HERE / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    bounds = " ".join(f"{value:.6g}" for value in code_range(net).tolist())
    (HERE / "act_range/3x").mkdir(parents=True, exist_ok=True)
    (HERE / "act_range/3x/fc6.txt").write_text(bounds + "\n")


@torch.no_grad()
def run(net: Net, x: Tensor, blob: str) -> Tensor:
    """A blob for many inputs, in batches."""
    name = "data" if x.ndim == 4 else "feat"
    return torch.cat([net.forward({name: part}, [blob])[blob] for part in x.split(256)])


def code_range(net: Net) -> Tensor:
    """Mean + 3 standard deviations of each unit of the code over training drawings."""
    codes = run(net, to_net(draw(4096, TRAIN_SEED)[0]), "fc6")
    return codes.mean(0) + 3 * codes.std(0)


def train_generator() -> None:
    """Images from codes: near in pixels, and near in what the classifier sees in them."""
    torch.manual_seed(TRAIN_SEED)
    net = load_caffe(HERE / "shapes.prototxt", HERE / "shapes.caffemodel", mean=MEAN)
    generator = load_caffe(HERE / "generator.prototxt", mean=MEAN)
    weights = initialise(generator, upwards=True)
    adam, schedule = optimiser(weights, 2e-3, 0.0, GENERATOR_STEPS)
    seen = ("conv2", "conv3", "fc6")
    for step, (x, _) in enumerate(batches(GENERATOR_STEPS, GENERATOR_BATCH, TRAIN_SEED + 1)):
        with torch.no_grad():
            wanted = net.forward({"data": x}, seen)
        y = generator.forward({"feat": wanted["fc6"] / CODE}, ["generated"])["generated"]
        got = net.forward({"data": y * SCALE}, seen)
        pixel_loss = F.l1_loss(y, x / SCALE)
        feature_loss = sum(F.mse_loss(got[b], wanted[b]) / wanted[b].square().mean() for b in seen)
        adam.zero_grad()
        (pixel_loss + 0.3 * feature_loss).backward()
        adam.step()
        schedule.step()
        report(step, GENERATOR_STEPS, pixels=pixel_loss, features=feature_loss)
    with torch.no_grad():
        weights[0] /= CODE
        for weight in weights[-2:]:
            weight *= SCALE
    save_caffemodel(generator, HERE / "generator.caffemodel")


def evaluate(count: int = 2048) -> dict[str, float]:
    """Figures on held-out drawings.

    accuracy: share of drawings given their class.
    pixel_error: mean |reconstruction - drawing| on the 0..255 scale.
    code_error: |fc6(reconstruction) - fc6| / |fc6|, Euclidean norms, mean over drawings.
    kept_class: share of reconstructions given the class of their drawing.
    """
    net = load_caffe(HERE / "shapes.prototxt", HERE / "shapes.caffemodel", mean=MEAN)
    images, classes = draw(count, TEST_SEED)
    x, labels = to_net(images), torch.from_numpy(classes)
    codes = run(net, x, "fc6")
    figures = {"accuracy": run(net, x, "fc8").argmax(1).eq(labels).float().mean()}
    if (HERE / "generator.caffemodel").exists():
        generator = load_caffe(HERE / "generator.prototxt", HERE / "generator.caffemodel")
        y = run(generator, codes, "generated")
        figures["pixel_error"] = (y - x).abs().mean()
        lost = (run(net, y, "fc6") - codes).norm(dim=1)
        figures["code_error"] = (lost / codes.norm(dim=1)).mean()
        figures["kept_class"] = run(net, y, "fc8").argmax(1).eq(labels).float().mean()
    return {name: round(float(value), 4) for name, value in figures.items()}


def report(step: int, steps: int, **losses: Tensor) -> None:
    if (step + 1) % 250 == 0:
        values = " ".join(f"{name} {loss.item():.3f}" for name, loss in losses.items())
        print(f"{step + 1}/{steps} {values}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=("classifier", "generator", "evaluate"))
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for part, train in (("classifier", train_classifier), ("generator", train_generator)):
        if args.part in (None, part):
            start = time.monotonic()
            with fast_kernels():
                train()
            print(f"{part}: {time.monotonic() - start:.0f} s")
    print(evaluate(), f"{time.process_time():.0f} s of CPU")


if __name__ == "__main__":
    main()
