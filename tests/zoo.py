"""One network of each of torchvision's families, its smallest, on images as small as it takes.

All others are measured, at their real image size, by `book/scripts/networks.py` for a table of the book.
"""

from typing import Any

from torch import Tensor, nn

from networks import build, images, names

# The family, its smallest network, pixels of an image, and options of its builder.
SMALLEST: dict[str, tuple[str, int, dict[str, Any]]] = {
    "AlexNet": ("alexnet", 63, {}),
    "VGG": ("vgg11_bn", 32, {}),
    "ResNet": ("resnet18", 32, {}),
    "ResNeXt": ("resnext50_32x4d", 32, {}),
    "Wide ResNet": ("wide_resnet50_2", 32, {}),
    "DenseNet": ("densenet121", 32, {}),
    "GoogLeNet": ("googlenet", 64, {}),
    "Inception v3": ("inception_v3", 299, {}),  # its auxiliary head takes no less
    "SqueezeNet": ("squeezenet1_1", 32, {}),
    "MobileNet v2": ("mobilenet_v2", 32, {}),
    "MobileNet v3": ("mobilenet_v3_small", 32, {}),
    "MNASNet": ("mnasnet0_5", 32, {}),
    "EfficientNet": ("efficientnet_b0", 32, {}),
    "EfficientNetV2": ("efficientnet_v2_s", 32, {}),
    "RegNet x": ("regnet_x_400mf", 32, {}),
    "RegNet y": ("regnet_y_400mf", 32, {}),
    "ShuffleNet v2": ("shufflenet_v2_x0_5", 32, {}),
    "ConvNeXt": ("convnext_tiny", 32, {}),
    "ViT": ("vit_b_32", 64, {"image_size": 64}),
    "Swin": ("swin_t", 32, {}),
}
FAMILIES = {  # how the names of a family's networks begin
    "AlexNet": "alexnet", "VGG": "vgg", "ResNet": "resnet", "ResNeXt": "resnext", "Wide ResNet": "wide_resnet",
    "DenseNet": "densenet", "GoogLeNet": "googlenet", "Inception v3": "inception_v3", "SqueezeNet": "squeezenet",
    "MobileNet v2": "mobilenet_v2", "MobileNet v3": "mobilenet_v3", "MNASNet": "mnasnet",
    "EfficientNet": "efficientnet_b", "EfficientNetV2": "efficientnet_v2", "RegNet x": "regnet_x",
    "RegNet y": "regnet_y", "ShuffleNet v2": "shufflenet_v2", "ConvNeXt": "convnext", "ViT": "vit", "Swin": "swin",
}  # fmt: skip
UNTESTED = {"maxvit_t": "no CNN, and its image size is fixed at 224: it is in the book's table"}


def small(family: str) -> tuple[nn.Module, Tensor, Tensor]:
    """The smallest network of a family in eval mode, random numbers in it, in float64; an example, and images."""
    name, size, options = SMALLEST[family]
    return build(name, **options), images(size), images(size, count=2 if size < 100 else 1)


def unlisted() -> list[str]:
    """torchvision's classification networks that belong to none of the families."""
    return [name for name in names() if not name.startswith(tuple(FAMILIES.values())) and name not in UNTESTED]
