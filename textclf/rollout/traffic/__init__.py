"""Engines that move traffic: a Protocol, and one module each."""

from textclf.rollout.traffic.traffic import Traffic, Weights

__all__ = ["Traffic", "Weights"]
