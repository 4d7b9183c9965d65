"""The walls of the operating system around one evaluator, one small module for each layer.

Hostile code is assumed to have taken over the JavaScript engine: these layers alone must then still keep
it from files, network, processes and signals. They are prepared in the parent and applied between fork
and exec (``ConfinementPlan``).
"""

from .errors import ConfinementError
from .limits import Limits
from .plan import LAYERS, ConfinementPlan, LayerStatus, check

__all__ = ["LAYERS", "ConfinementError", "ConfinementPlan", "LayerStatus", "Limits", "check"]
