"""A classifier that learns in steps, in PyTorch: see `train_classifier_gpu.py`.

The network is `maskbatch.trainer.model.build_model` with the third state, layer by layer (Sandler et al. 2018, MobileNetV2,
as in keras.applications), and takes and gives its weights in Keras's order, as arrays. PyTorch compiles nothing before the
first step, and its depthwise convolutions are fast: with JAX, both cost most of a short loan of a GPU.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

# expansion, channels, blocks, stride of the first of them: the rows of the paper's table
_BLOCKS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
_EMA = 0.999
_DECAY = 1e-2
_SMOOTHING = 0.02
_EVALUATED = 256
_WARMUP = 0.05


class ConvNorm(nn.Sequential):
    """A convolution, a batch norm, and ReLU6 where `is_active`; strides pad below and on the right, as Keras does."""

    def __init__(self, num_in: int, num_out: int, size: int, stride: int = 1, depthwise: bool = False, is_active=True):
        padding = size // 2 if stride == 1 else 0
        groups = num_in if depthwise else 1
        conv = nn.Conv2d(num_in, num_out, size, stride, padding, groups=groups, bias=False)
        norm = nn.BatchNorm2d(num_out, eps=1e-3, momentum=0.01)
        first = [nn.ZeroPad2d((0, 1, 0, 1))] if stride == 2 else []
        super().__init__(*first, conv, norm, *([nn.ReLU6(inplace=True)] if is_active else []))


class Block(nn.Sequential):
    """An inverted residual block."""

    def __init__(self, num_in: int, num_out: int, expansion: int, stride: int):
        middle = num_in * expansion
        first = [ConvNorm(num_in, middle, 1)] if expansion > 1 else []
        last = ConvNorm(middle, num_out, 1, is_active=False)
        super().__init__(*first, ConvNorm(middle, middle, 3, stride, depthwise=True), last)
        self._adds = stride == 1 and num_in == num_out

    def forward(self, x):
        """Return features of the same layout, (N, channels, H, W)."""
        return x + super().forward(x) if self._adds else super().forward(x)


class Classifier(nn.Module):
    """Crops (N, 3, S, S) float 0-255 -> logits of p_mask and p_incorrect (N, 2) float32."""

    def __init__(self):
        super().__init__()
        layers, channels = [ConvNorm(3, 32, 3, 2)], 32
        for expansion, num_out, repeats, stride in _BLOCKS:
            for number in range(repeats):
                layers.append(Block(channels, num_out, expansion, stride if number == 0 else 1))
                channels = num_out
        self.base = nn.Sequential(*layers, ConvNorm(channels, 1280, 1))
        self.hidden, self.hidden_incorrect = nn.Linear(1280, 128), nn.Linear(1280, 64)
        self.mask, self.incorrect = nn.Linear(128, 1), nn.Linear(64, 1)
        self.dropout = nn.Dropout(0.5)

    def forward(self, images):
        """Return the logits; the heads count in float32 under autocast."""
        pooled = self.base(images / 127.5 - 1).mean((2, 3)).float()
        with torch.autocast(pooled.device.type, enabled=False):
            first, second = (self.dropout(torch.relu(h(pooled))) for h in (self.hidden, self.hidden_incorrect))
            return torch.cat([self.mask(first), self.incorrect(second)], dim=1)


def keras_weights(network: Classifier) -> list[tuple[torch.Tensor, tuple[int, ...]]]:
    """Return all weights in the order of Keras's `weights`, each with the axes that make it Keras's kernel."""
    found = []
    for layer in network.base.modules():
        if isinstance(layer, nn.Conv2d):  # depthwise kernels are (height, width, channels, 1) in Keras
            found.append((layer.weight, (2, 3, 0, 1) if layer.groups > 1 else (2, 3, 1, 0)))
        elif isinstance(layer, nn.BatchNorm2d):
            found += [(v, (0,)) for v in (layer.weight, layer.bias, layer.running_mean, layer.running_var)]
    for layer in (network.hidden, network.hidden_incorrect, network.mask, network.incorrect):
        found += [(layer.weight, (1, 0)), (layer.bias, (0,))]
    return found


def load_weights(network: Classifier, arrays: list[np.ndarray]) -> None:
    """Copy weights in Keras's order into the network; arrays of the backbone alone leave the heads as they are.

    Raises ValueError when shapes do not fit.
    """
    with torch.no_grad():
        for (value, axes), array in zip(keras_weights(network), arrays, strict=False):
            back = np.argsort(axes)
            value.copy_(torch.from_numpy(np.ascontiguousarray(np.transpose(array, back), dtype=np.float32)))


class Learner:
    """One variant of the training, with its optimizer's state and the moving average of its weights.

    `variant` has name, peak, live and mixup; `base_weights` is an .npz of weights in Keras's order (`pack_faces.py` writes
    one), of the backbone or of the whole classifier.
    """

    def __init__(self, variant, base_weights: Path, seed: int, device: str) -> None:
        torch.manual_seed(seed)
        self.variant, self._device = variant, device
        self._network, self._kept = (Classifier().to(device, memory_format=torch.channels_last) for _ in range(2))
        with np.load(base_weights) as kept:
            load_weights(self._network, [kept[name] for name in sorted(kept.files)])
        self._kept.load_state_dict(self._network.state_dict())
        self._kept.eval()
        self._network.train()
        if not variant.live:
            self._network.base.eval()
        fused = device.startswith("cuda")
        self._optimizer = torch.optim.AdamW(self._network.parameters(), weight_decay=_DECAY, fused=fused)
        self._random = np.random.default_rng(seed)
        self._number = 0

    def step(self, images: np.ndarray, wanted: np.ndarray, share: float) -> torch.Tensor:
        """Learn from crops (B, S, S, 3) uint8 and targets (B, 2) float32; return the loss, not waited for.

        `share` is the part of the training that is over: the learning rate rises for a twentieth of it, and then falls
        to zero along a cosine.
        """
        rate = self.variant.peak * min(share / _WARMUP, (1 + np.cos(np.pi * share)) / 2)
        for group in self._optimizer.param_groups:
            group["lr"] = float(rate)
        images, wanted = on_device(images, self._device).float(), torch.from_numpy(wanted).to(self._device)
        if self.variant.mixup:
            images, wanted = _mixed(images, wanted, float(self._random.beta(*[self.variant.mixup] * 2)))
        with torch.autocast(self._device, torch.bfloat16):
            logits = self._network(images)
        loss = _loss(logits, wanted)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self._network.parameters(), 1.0)
        self._optimizer.step()
        self._average()
        return loss.detach()

    def _average(self) -> None:
        """Move the kept weights towards those of now."""
        self._number += 1
        share = 1 - min(_EMA, self._number / (self._number + 9))
        kept, now = ([v for v in n.state_dict().values() if v.is_floating_point()] for n in (self._kept, self._network))
        torch._foreach_lerp_(kept, now, share)

    @torch.no_grad()
    def answers(self, crops: np.ndarray) -> np.ndarray:
        """Return p_mask and p_incorrect (N, 2) float32 of the averaged weights for crops (N, S, S, 3) uint8, in float32."""
        parts = np.array_split(crops, -(-len(crops) // _EVALUATED))
        found = [torch.sigmoid(self._kept(on_device(part, self._device).float())).cpu() for part in parts]
        return torch.cat(found).numpy()

    def write(self, path: Path) -> None:
        """Write the averaged weights in Keras's order, kernels in float16."""
        arrays = [np.transpose(value.detach().float().cpu().numpy(), axes) for value, axes in keras_weights(self._kept)]
        halved = [a.astype(np.float16) if a.ndim > 1 else a for a in arrays]
        np.savez(path, **{f"w{i:03d}": array for i, array in enumerate(halved)})


def on_device(crops: np.ndarray, device: str) -> torch.Tensor:
    """Return crops (N, S, S, 3) uint8 as a tensor (N, 3, S, S) of the device, channels last in memory."""
    return torch.from_numpy(crops).to(device, non_blocking=True).permute(0, 3, 1, 2)


def _loss(logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Return the binary cross-entropy, summed over the heads; a target below 0 is not known."""
    known = (wanted >= 0).float()
    smooth = wanted.clamp(min=0) * (1 - _SMOOTHING) + _SMOOTHING / 2
    return (functional.binary_cross_entropy_with_logits(logits, smooth, reduction="none") * known).sum(1).mean()


def _mixed(images: torch.Tensor, wanted: torch.Tensor, share: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return each crop mixed with another one, and its targets; a target is unknown where one of both is."""
    order = torch.randperm(len(images), device=images.device)
    known = (wanted >= 0) & (wanted[order] >= 0)
    mixed = torch.where(known, share * wanted + (1 - share) * wanted[order], -1.0)
    return share * images + (1 - share) * images[order], mixed
