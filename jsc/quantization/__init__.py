"""Quantised networks in torch, exact in integers: the definition of what the fused engine and the circuit compute.

`quantize_network` turns a float network into a `QuantizedNetwork`: `folding` takes its BatchNorms away, `layers` has
what is put in their place, with the rounding of `rounding`; `sparsity` prunes, `cost` counts, `export` gives the
integers of network.json.
"""

from jsc.quantization.conversion import calibrate, quantize_network
from jsc.quantization.cost import LayerBits, beta_at, bits_by_layer, ebops
from jsc.quantization.export import check_sums, to_network
from jsc.quantization.layers import Granularity, InputEncoder, QuantizedLinear, QuantizedNetwork, Quantizer
from jsc.quantization.sparsity import density_at, fan_in_mask, prune

__all__ = [
    "Granularity",
    "InputEncoder",
    "LayerBits",
    "QuantizedLinear",
    "QuantizedNetwork",
    "Quantizer",
    "beta_at",
    "bits_by_layer",
    "calibrate",
    "check_sums",
    "density_at",
    "ebops",
    "fan_in_mask",
    "prune",
    "quantize_network",
    "to_network",
]
