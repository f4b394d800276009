"""A classifier that learns in steps, with Keras on JAX: see `train_jax.py`. The module imports JAX."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import keras
import numpy as np
import optax

from maskbatch.trainer.model import P_INCORRECT, P_MASK, backbone_of, build_model

_EMA = 0.999
_DECAY = 1e-4
_SMOOTHING = 0.02
_EVALUATED = 256
_WARMUP = 0.05


class Learner:
    """One variant of the training, with its optimizer's state and the moving average of its weights."""

    def __init__(self, variant, base_weights: Path, plan) -> None:
        keras.utils.set_random_seed(plan.seed)
        keras.config.set_dtype_policy("mixed_bfloat16")
        self.variant, self._whole = variant, build_model(base_weights=None, size_px=plan.size_px, third_state=True)
        _load_base(backbone_of(self._whole), base_weights)
        self._model = with_live_norms(self._whole) if variant.live else self._whole
        self._optimizer = optax.chain(
            optax.clip_by_global_norm(1.0), optax.scale_by_adam(), optax.add_decayed_weights(_DECAY)
        )
        trained = [v.value for v in self._model.trainable_variables]
        other = [v.value for v in self._model.non_trainable_variables]
        self._state = (trained, other, self._optimizer.init(trained), jax.tree.map(jnp.copy, (trained, other)))
        self._number = 0
        self._key = jax.random.key(plan.seed)
        if plan.by_shifts:
            for layer in backbone_of(self._whole).layers:
                if isinstance(layer, keras.layers.DepthwiseConv2D):
                    layer.call = functools.partial(_shifted, layer)
        shape = (plan.batch_size, plan.size_px, plan.size_px, 3)
        batch = jax.ShapeDtypeStruct(shape, jnp.uint8), jax.ShapeDtypeStruct((plan.batch_size, 2), jnp.float32)
        numbers = jax.ShapeDtypeStruct((), jnp.int32), jax.ShapeDtypeStruct((), jnp.float32)
        self._lowered = jax.jit(self._changed, donate_argnums=0).lower(self._state, *batch, *numbers)
        self._answer = jax.jit(self._answered)

    def compile(self) -> None:
        """Compile the step, once; several learners can do it at a time, in threads."""
        self._step = self._lowered.compile()

    def step(self, images: np.ndarray, wanted: np.ndarray, share: float) -> jax.Array:
        """Learn from crops (B, S, S, 3) uint8 and targets (B, 2); return the loss, not waited for.

        `share` is the part of the training that is over: the learning rate rises for a twentieth of it, and then falls
        to zero along a cosine.
        """
        rate = self.variant.peak * min(share / _WARMUP, (1 + np.cos(np.pi * share)) / 2)
        self._state, loss = self._step(self._state, images, wanted, np.int32(self._number), np.float32(rate))
        self._number += 1
        return loss

    def answers(self, crops: np.ndarray) -> np.ndarray:
        """Return p_mask and p_incorrect (N, 2) float32 of the averaged weights."""
        padded = np.concatenate([crops, np.zeros((-len(crops) % _EVALUATED, *crops.shape[1:]), np.uint8)])
        parts = np.split(padded, len(padded) // _EVALUATED)
        return np.concatenate([np.asarray(self._answer(self._state[3], part)) for part in parts])[: len(crops)]

    def write(self, path: Path) -> None:
        """Write the averaged weights, kernels in float16, in the order of `weights_of` a model of `build_model`."""
        trained, other = self._state[3]
        for variables, values in (
            (self._model.trainable_variables, trained),
            (self._model.non_trainable_variables, other),
        ):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)
        arrays = [np.asarray(v.numpy()) for v in weights_of(self._whole)]
        halved = [a.astype(np.float16) if a.ndim > 1 else a.astype(np.float32) for a in arrays]
        np.savez(path, **{f"w{i:03d}": array for i, array in enumerate(halved)})

    def _changed(self, state, images, wanted, number, rate):
        trained, other, moments, average = state
        key = jax.random.fold_in(self._key, number)
        images = images.astype(jnp.float32)
        if self.variant.mixup:
            images, wanted = _mixed(images, wanted, self.variant.mixup, key)
        compute = functools.partial(self._loss, other, images, wanted)
        (loss, other), slope = jax.value_and_grad(compute, has_aux=True)(trained)
        change, moments = self._optimizer.update(slope, moments, trained)
        trained = jax.tree.map(lambda value, by: value - rate * by, trained, change)
        kept = jnp.minimum(_EMA, (number + 1) / (number + 10))
        average = jax.tree.map(
            lambda a, v: v if jnp.issubdtype(v.dtype, jnp.integer) else kept * a + (1 - kept) * v,
            average,
            (trained, other),
        )
        return (trained, other, moments, average), loss

    def _loss(self, other, images, wanted, trained):
        p, other = self._model.stateless_call(trained, other, images, training=True)
        known = wanted >= 0
        p, y = jnp.clip(p, 1e-6, 1 - 1e-6), jnp.where(known, wanted, 0) * (1 - _SMOOTHING) + _SMOOTHING / 2
        entropy = -(y * jnp.log(p) + (1 - y) * jnp.log1p(-p))
        return (entropy * known).sum(axis=-1).mean(), other

    def _answered(self, average, images):
        return self._model.stateless_call(*average, images.astype(jnp.float32), training=False)[0]


def with_live_norms(model):
    """Return a model of `build_model` whose batch norms learn; it shares all weights with the given one."""
    layer, image = model.get_layer, keras.Input(model.input_shape[1:])
    pooled = layer("pool")(backbone_of(model)(layer("normalise")(image)))
    heads = [
        layer(last)(layer(f"dropout{end}")(layer(f"hidden{end}")(pooled)))
        for end, last in (("", P_MASK), ("_incorrect", P_INCORRECT))
    ]
    return keras.Model(image, layer("states")(heads))


def weights_of(model) -> list:
    """Return the variables of a model in order, without the states of random numbers."""
    return [variable for variable in model.weights if "seed_generator" not in variable.path]


def _shifted(layer, x):
    """Return a depthwise 3x3 convolution as a sum of nine products, which XLA fuses into one pass over memory."""
    kernel, stride = layer.kernel.value[..., 0].astype(jnp.float32), layer.strides[0]
    if layer.padding == "same":
        x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    rows, columns = ((side - 3) // stride + 1 for side in x.shape[1:3])
    total = 0.0
    for i in range(3):
        for j in range(3):
            part = x[:, i : i + stride * (rows - 1) + 1 : stride, j : j + stride * (columns - 1) + 1 : stride]
            total += part.astype(jnp.float32) * kernel[i, j]
    return total.astype(x.dtype)


def _load_base(base, path: Path) -> None:
    """Load ImageNet weights from Keras's file, or from an .npz of them in order, which may be in float16."""
    if path.suffix != ".npz":
        base.load_weights(path)
        return
    with np.load(path) as kept:
        base.set_weights([kept[name].astype(np.float32) for name in sorted(kept.files)])


def _mixed(images, wanted, strength: float, key):
    """Return each crop mixed with another one, and its targets; a target is unknown where one of both is."""
    first, second = jax.random.split(key)
    share = jax.random.beta(first, strength, strength, (len(images), 1))
    order = jax.random.permutation(second, len(images))
    mixed = share * wanted + (1 - share) * wanted[order]
    known = (wanted >= 0) & (wanted[order] >= 0)
    pixels = share[:, :, None, None]
    return pixels * images + (1 - pixels) * images[order], jnp.where(known, mixed, -1.0)
