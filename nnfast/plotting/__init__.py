"""Plots of trainings, layers, mistakes, residuals, decisions, activations, schedules and gradients.

They require matplotlib (extra `plot`). Each function draws on the given axes, or on a new pyplot figure, and returns
the axes; showing, saving and closing the figure are left to the caller.
"""

from nnfast.plotting.decisions import plot_decision_boundary
from nnfast.plotting.estimates import plot_importances, plot_predictions, plot_residuals
from nnfast.plotting.functions import plot_activations, plot_schedule
from nnfast.plotting.gradients import plot_descent, plot_gradient_field, plot_gradient_report
from nnfast.plotting.histories import plot_history
from nnfast.plotting.layers import plot_activation_histograms, plot_gradient_histograms, plot_weight_histograms
from nnfast.plotting.mistakes import plot_confusion_matrix, plot_worst_mistakes
from nnfast.plotting.panels import COLORS, MARKERS

__all__ = [
    "COLORS",
    "MARKERS",
    "plot_activation_histograms",
    "plot_activations",
    "plot_confusion_matrix",
    "plot_decision_boundary",
    "plot_descent",
    "plot_gradient_field",
    "plot_gradient_histograms",
    "plot_gradient_report",
    "plot_history",
    "plot_importances",
    "plot_predictions",
    "plot_residuals",
    "plot_schedule",
    "plot_weight_histograms",
    "plot_worst_mistakes",
]
