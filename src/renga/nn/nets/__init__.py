"""Whole networks."""

from renga.nn.nets._mlp import MLP
from renga.nn.nets._mobilenet import MobileNetV1
from renga.nn.nets._resnet import ResNet
from renga.nn.nets._resnets import (
    ResNet18,
    ResNet34,
    ResNet50,
    ResNet101,
    ResNet152,
    ResNet200,
)
from renga.nn.nets._vq import VectorQuantizer, VectorQuantizerEMA

__all__ = [
    "MLP",
    "MobileNetV1",
    "ResNet",
    "ResNet18",
    "ResNet34",
    "ResNet50",
    "ResNet101",
    "ResNet152",
    "ResNet200",
    "VectorQuantizer",
    "VectorQuantizerEMA",
]
