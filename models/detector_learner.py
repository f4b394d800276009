"""A detector that learns in steps, in PyTorch: see `train_detector_gpu.py`.

The network is `maskbatch.networks.yunet`, and the loss is `maskbatch.trainer.detector.loss`, both written out for PyTorch; a
step is one CUDA graph, because the network's layers are smaller than the time to start them. A variant can learn with batch
norms, as YuNet's authors did: they are put behind the convolutions that they were folded into, with the statistics of the
first batches, and folded in again at the end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from maskbatch.networks.yunet import BOX, CHANNELS, CLASS, LANDMARKS, OBJECT, STRIDES, WIDTH
from maskbatch.trainer.detector import targets
from maskbatch.trainer.detector.assign import cells_of

# stages of the backbone after the stem, as in `maskbatch.networks.yunet`: number, units, True if pooling comes first
_STAGES = ((1, 2, True), (2, 2, False), (3, 2, True), (4, 2, True), (5, 2, True))
_TAPS = (3, 4, 5)
_EMA = 0.999
_WARMUP = 0.05
_MAX_GRADIENT_NORM = 5.0
_WARM_CALLS = 3
# the parts of the loss, and of SimOTA: see `maskbatch.trainer.detector.loss` and `assign`
_BOX_SHARE, _LANDMARK_SHARE, _USUAL_IOU, _TINY = 5.0, 0.1, 0.85, 1e-7
_RADIUS, _CANDIDATES, _IOU_SHARE, _NEVER, _OUTSIDE = 2.5, 10, 3.0, 1e8, 1e5


@dataclass(frozen=True, slots=True)
class Variant:
    """A way to train: the peak of the learning rate, and `norms`, True to learn with batch norms."""

    name: str
    peak: float
    norms: bool = False


class Unit(nn.Module):
    """A 1x1 and a depthwise 3x3 convolution, and perhaps a batch norm and ReLU."""

    def __init__(self, num_in: int, num_out: int, is_active: bool = True):
        super().__init__()
        self.point = nn.Conv2d(num_in, num_out, 1)
        self.depth = nn.Conv2d(num_out, num_out, 3, padding=1, groups=num_out)
        self.norm = nn.Identity()
        self._is_active = is_active

    def forward(self, x):
        """Return features (B, num_out, H, W)."""
        x = self.norm(self.depth(self.point(x)))
        return torch.relu(x) if self._is_active else x


class YuNet(nn.Module):
    """Views (B, 3, S, S) float 0-255 -> raw maps (B, P, 16), with logits in place of probabilities."""

    def __init__(self):
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.Identity()
        units = {"stage0_1": Unit(16, 16)}
        for stage, count, _ in _STAGES:
            for number in range(count):
                first = (stage, number) == (1, 0)
                units[f"stage{stage}_{number}"] = Unit(16 if stage == 1 else WIDTH, 16 if first else WIDTH)
        units |= {f"lateral{level}": Unit(WIDTH, WIDTH) for level in range(3)}
        for stride in STRIDES:
            units |= {f"share{stride}": Unit(WIDTH, WIDTH), f"head{stride}": Unit(WIDTH, CHANNELS, is_active=False)}
        self.units = nn.ModuleDict(units)

    def forward(self, views):
        """Return the maps of all strides, one after the other."""
        x = self.units["stage0_1"](torch.relu(self.stem_norm(self.stem(views))))
        taps = []
        for stage, count, pools in _STAGES:
            x = functional.max_pool2d(x, 2) if pools else x
            for number in range(count):
                x = self.units[f"stage{stage}_{number}"](x)
            taps += [x] if stage in _TAPS else []
        levels = [self.units["lateral2"](taps[2])]
        for level in (1, 0):
            up = functional.interpolate(levels[0], scale_factor=2, mode="nearest")
            levels.insert(0, self.units[f"lateral{level}"](taps[level] + up))
        maps = [self.units[f"head{s}"](self.units[f"share{s}"](x)) for s, x in zip(STRIDES, levels, strict=True)]
        return torch.cat([one.permute(0, 2, 3, 1).reshape(len(one), -1, CHANNELS) for one in maps], dim=1)

    def convolutions(self) -> dict[str, nn.Conv2d]:
        """Return the convolutions by the names of Keras's layers."""
        found = {"stem": self.stem}
        for name, unit in self.units.items():
            found |= {f"{name}_point": unit.point, f"{name}_depth": unit.depth}
        return found

    def add_norms(self, batches: Sequence[torch.Tensor]) -> None:
        """Put batch norms behind the convolutions they were folded into; they change nothing for views like the batches'."""
        seen = {}

        def note(name):
            return lambda _, __, out: seen.setdefault(name, []).append(torch.var_mean(out, (0, 2, 3)))

        active = {name: unit for name, unit in self.units.items() if not name.startswith("head")}
        hooks = [unit.depth.register_forward_hook(note(name)) for name, unit in active.items()]
        hooks.append(self.stem.register_forward_hook(note("stem")))
        with torch.no_grad():
            for batch in batches:
                self(batch)
        for hook in hooks:
            hook.remove()
        for name, unit in active.items():
            unit.norm = _transparent(seen[name])
        self.stem_norm = _transparent(seen["stem"])

    def folded(self) -> "YuNet":
        """Return the network without batch norms."""
        plain = YuNet()
        norms = {"stem": self.stem_norm} | {f"{name}_depth": unit.norm for name, unit in self.units.items()}
        own = self.convolutions()
        with torch.no_grad():
            for name, conv in plain.convolutions().items():
                kernel, bias, norm = own[name].weight, own[name].bias, norms.get(name)
                if isinstance(norm, nn.BatchNorm2d):
                    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
                    kernel, bias = kernel * scale[:, None, None, None], (bias - norm.running_mean) * scale + norm.bias
                conv.weight.copy_(kernel)
                conv.bias.copy_(bias)
        return plain


def _transparent(seen: list[tuple[torch.Tensor, torch.Tensor]]) -> nn.BatchNorm2d:
    """Return a batch norm that changes nothing where variance and mean are those that were seen."""
    variance, mean = (torch.stack(parts).mean(0) for parts in zip(*seen, strict=True))
    norm = nn.BatchNorm2d(len(mean), eps=1e-3, momentum=0.01).to(mean.device)
    with torch.no_grad():
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_(torch.sqrt(variance + norm.eps))
        norm.bias.copy_(mean)
    return norm


def load_weights(network: YuNet, arrays: dict[str, np.ndarray]) -> None:
    """Copy weights by the names of Keras's layers into a network without batch norms."""
    with torch.no_grad():
        for name, conv in network.convolutions().items():
            conv.weight.copy_(torch.from_numpy(arrays[f"{name}/kernel"].transpose(_axes(name, back=True)).copy()))
            conv.bias.copy_(torch.from_numpy(arrays[f"{name}/bias"]))


def keras_weights(network: YuNet) -> dict[str, np.ndarray]:
    """Return the weights by the names of Keras's layers, in the order of Keras's axes, batch norms folded in."""
    found = {}
    for name, conv in network.folded().convolutions().items():
        found[f"{name}/kernel"] = conv.weight.detach().cpu().numpy().transpose(_axes(name))
        found[f"{name}/bias"] = conv.bias.detach().cpu().numpy()
    return found


def _axes(name: str, back: bool = False) -> tuple[int, ...]:
    """Return the axes that make Keras's kernel of PyTorch's; a depthwise one is (height, width, channels, 1) there."""
    axes = (2, 3, 0, 1) if name.endswith("_depth") else (2, 3, 1, 0)
    return tuple(np.argsort(axes)) if back else axes


class Learner:
    """One variant of the training, with its optimizer's state and the moving average of its weights.

    `views` (B, S, S, 3) uint8 and `table` (B, 80, 17) float32 are the tensors of the device that hold each batch. `first`
    are the views that the statistics of batch norms begin with.
    """

    def __init__(
        self, variant: Variant, arrays: dict, views: torch.Tensor, table: torch.Tensor, first: Sequence
    ) -> None:
        self.variant, self._views, self._table = variant, views, table
        device = views.device
        self._network = YuNet().to(device, memory_format=torch.channels_last)
        load_weights(self._network, arrays)
        if variant.norms:
            self._network.add_norms([as_input(batch.to(device)) for batch in first])
        self._network.train()
        self._cells = tuple(torch.from_numpy(part).to(device) for part in cells_of(_num_cells(views.shape[1])))
        self._rate = torch.tensor(0.0, device=device)
        is_cuda = device.type == "cuda"
        self._optimizer = torch.optim.Adam(self._network.parameters(), lr=self._rate, capturable=is_cuda, fused=is_cuda)
        self._kept = YuNet().to(device)
        if variant.norms:
            self._kept.add_norms([as_input(first[0].to(device))])
        self._kept.load_state_dict(self._network.state_dict())
        self._number = 0
        self._step = self._captured() if is_cuda else self._once

    def step(self, share: float) -> torch.Tensor:
        """Learn from the batch in `views` and `table`; return the loss, not waited for.

        `share` is the part of the training that is over: the learning rate rises for a twentieth of it, and then falls
        to zero along a cosine.
        """
        self._rate.fill_(self.variant.peak * min(share / _WARMUP, (1 + np.cos(np.pi * share)) / 2))
        loss = self._step()
        self._number += 1
        kept, now = ([v for v in n.state_dict().values() if v.is_floating_point()] for n in (self._kept, self._network))
        torch._foreach_lerp_(kept, now, 1 - min(_EMA, self._number / (self._number + 9)))
        return loss

    def write(self, path: Path) -> None:
        """Write the averaged weights by the names of Keras's layers."""
        np.savez(path, **keras_weights(self._kept))

    def _once(self) -> torch.Tensor:
        self._optimizer.zero_grad(set_to_none=True)
        loss = detection_loss(self._table, self._network(as_input(self._views)), self._cells)
        loss.backward()
        nn.utils.clip_grad_norm_(self._network.parameters(), _MAX_GRADIENT_NORM)
        self._optimizer.step()
        return loss.detach()

    def _captured(self):
        """Return a function that does `_once` as one CUDA graph; the warm-up has a learning rate of 0."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_CALLS):
                self._once()
        torch.cuda.current_stream().wait_stream(stream)
        self._optimizer.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            loss = self._once()

        def replay() -> torch.Tensor:
            graph.replay()
            return loss.clone()

        return replay


def as_input(views: torch.Tensor) -> torch.Tensor:
    """Return views (B, S, S, 3) uint8 as (B, 3, S, S) float32, channels last in memory."""
    return views.permute(0, 3, 1, 2).float()


def _num_cells(side_px: int) -> int:
    return sum((side_px // stride) ** 2 for stride in STRIDES)


def detection_loss(target: torch.Tensor, raw: torch.Tensor, cells: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Return the scalar loss of a batch, from tables (B, M, 17) of `face_table` and raw maps (B, P, 16)."""
    corner, stride = cells
    middle = corner + stride[:, None] / 2
    xyxy, (cls, obj) = _predicted_boxes(raw, cells), torch.sigmoid(raw[..., :2].detach()).unbind(-1)
    with torch.no_grad():
        face, iou, is_assigned = _assign(target, xyxy.detach(), torch.sqrt(cls * obj), middle, stride)
        own = target.gather(1, face[..., None].expand(-1, -1, target.shape[-1]))
        mask = is_assigned.float()
        sized, pointed = mask * own[..., targets.SIZED], mask * own[..., targets.HAS_LANDMARKS]
        class_target = torch.where(own[..., targets.SIZED] > 0, iou, _USUAL_IOU)
        inside = _inside(target[..., targets.BOX], middle, closed=True)
        left_out = (inside & (target[..., targets.SCORE] == 0)[..., None]).any(1).float()
        heeded = torch.maximum(mask, 1 - left_out)
    total = (mask * _entropy(class_target, raw[..., CLASS])).sum()
    total = total + (heeded * _entropy(mask * own[..., targets.SCORE], raw[..., OBJECT])).sum()
    total = total + _BOX_SHARE * (sized * _box_loss(own[..., targets.BOX], xyxy)).sum()
    points = (own[..., targets.LANDMARKS] - corner.repeat(1, 5)) / stride[:, None]
    error = functional.smooth_l1_loss(raw[..., LANDMARKS], points, reduction="none").sum(-1)
    return (total + _LANDMARK_SHARE * (pointed * error).sum()) / mask.sum().clamp(min=1.0)


def _entropy(target, logit):
    """Return the binary cross-entropy of each cell minus that of the target itself."""
    best = -(target * torch.log(target + _TINY) + (1 - target) * torch.log(1 - target + _TINY))
    return functional.binary_cross_entropy_with_logits(logit, target, reduction="none") - best


def _predicted_boxes(raw, cells):
    """Return the network's boxes (B, P, 4) in pixels."""
    corner, stride = cells
    box = raw[..., BOX]
    centre = corner + box[..., :2] * stride[:, None]
    half = torch.exp(box[..., 2:].clamp(-4.0, 5.0)) * stride[:, None] / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def _inside(face_boxes, middle, closed: bool = False):
    """Return (B, M, P) bool: the middle of the cell lies in the box; on its edge, too, if `closed`."""
    low, high = face_boxes[:, :, None, :2], face_boxes[:, :, None, 2:]
    return ((middle >= low) & (middle <= high) if closed else (middle > low) & (middle < high)).all(-1)


def _assign(target, xyxy, score, middle, stride):
    """Return (face (B, P), iou (B, P), is_assigned (B, P)): SimOTA, as in `maskbatch.trainer.detector.assign`."""
    face_boxes, exists = target[..., targets.BOX], target[..., targets.SCORE] > 0
    in_box = _inside(face_boxes, middle)
    centre = (face_boxes[..., :2] + face_boxes[..., 2:]) / 2
    in_reach = (middle - centre[:, :, None]).abs().amax(-1) < _RADIUS * stride
    iou = _pairwise_iou(face_boxes, xyxy)
    may = (in_box | in_reach) & exists[..., None]
    cost = _IOU_SHARE * -torch.log(iou + _TINY) - torch.log(score + _TINY)[:, None]
    cost = torch.where(may, cost + torch.where(in_box & in_reach, 0.0, _OUTSIDE), _NEVER)
    best_iou = torch.where(may, iou, 0.0).topk(_CANDIDATES, dim=-1).values
    number = best_iou.sum(-1).int().clamp(1, _CANDIDATES).long()
    least = cost.topk(_CANDIDATES, dim=-1, largest=False).values
    taken = may & (cost <= least.gather(-1, (number - 1)[..., None]))
    face = torch.where(taken, cost, _NEVER).argmin(1)
    return face, iou.gather(1, face[:, None])[:, 0], taken.any(1)


def _pairwise_iou(first, second):
    """Return the IoU (B, M, P) of boxes (B, M, 4) and (B, P, 4)."""
    first, second = first[:, :, None], second[:, None]
    low, high = torch.maximum(first[..., :2], second[..., :2]), torch.minimum(first[..., 2:], second[..., 2:])
    shared = _area(high - low)
    areas = [_area(box[..., 2:] - box[..., :2]) for box in (first, second)]
    return shared / (areas[0] + areas[1] - shared).clamp(min=_TINY)


def _box_loss(wanted, xyxy):
    """Return the EIoU loss (B, P)."""
    low, high = torch.maximum(wanted[..., :2], xyxy[..., :2]), torch.minimum(wanted[..., 2:], xyxy[..., 2:])
    shared = _area(high - low)
    size, own_size = wanted[..., 2:] - wanted[..., :2], xyxy[..., 2:] - xyxy[..., :2]
    union = _area(size) + _area(own_size) - shared
    around = torch.maximum(wanted[..., 2:], xyxy[..., 2:]) - torch.minimum(wanted[..., :2], xyxy[..., :2])
    shift = (wanted[..., :2] + wanted[..., 2:] - xyxy[..., :2] - xyxy[..., 2:]) / 2
    apart = (shift**2).sum(-1) / (around**2).sum(-1).clamp(min=_TINY)
    unlike = ((size - own_size) ** 2 / (around**2).clamp(min=_TINY)).sum(-1)
    return 1 - shared / union.clamp(min=_TINY) + apart + unlike


def _area(size):
    """Return the areas (...) of sizes (..., 2); none is negative. `prod` would wait for the GPU in its gradient."""
    return size[..., 0].clamp(min=0) * size[..., 1].clamp(min=0)
