"""The colours of modes and of frames without one, the same in every picture and page."""

from csknet_core.modality import Mode

MODE_COLORS = {
    Mode.FUSED.value: "#2e9e5b",
    Mode.THERMAL_ONLY.value: "#e07b1a",
    Mode.OPTICAL_ONLY.value: "#3b7dd8",
}
OUTCOME_COLORS = {"dropped": "#b5b5b5", "lost": "#d62728", "unaccounted": "#7f00ff"}
