"""The settings beside the photo: how much noise, what the results are like, how to work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PySide6.QtCore import QSignalBlocker, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QFrame,
    QLabel,
    QPushButton,
    QScrollArea,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from denoisetool.gui.preferences import Preferences
from denoisetool.gui.widgets import FolderField, PercentSlider, heading, quiet, rule
from denoisetool.settings import BY_NAME

LOSSY = {"keep", "jpeg", "webp", "avif"}
LOOKS = ("model", "scale", "strength", "luma", "chroma", "color_lock")
"""Settings that a preview depends on, besides those of the machine."""
RULES = ("refuse", "skip", "overwrite")


class Controls(QScrollArea):
    """All settings of a run.

    Signals:
        output_changed: where results go, or what happens to those that are there.
    """

    output_changed = Signal()

    def __init__(self, preferences: Preferences) -> None:
        super().__init__()
        self._preferences = preferences
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setMinimumWidth(290)
        self.setMaximumWidth(360)
        body = QWidget()
        self._layout = QVBoxLayout(body)
        self._layout.setContentsMargins(16, 14, 16, 14)
        self._layout.setSpacing(10)
        self._add_noise()
        self._layout.addWidget(rule())
        self._add_results()
        self._layout.addWidget(rule())
        self._add_machine()
        self._layout.addStretch(1)
        self.setWidget(body)
        preferences.changed.connect(lambda _: self.refresh())
        self.refresh()

    # -- groups ---------------------------------------------------------------------------------

    def _add_noise(self) -> None:
        tr = self.tr
        self.strength = self._slider("strength", tr("Strength"), 200)
        self.luma = self._slider("luma", tr("Brightness noise"), 100)
        self.chroma = self._slider("chroma", tr("Colour noise"), 100)
        self.model = self._combo("model", tr("Model"), {})
        self.set_models(())
        sizes = {"auto": tr("As the model does"), "1": "1 ×", "2": "2 ×", "4": "4 ×"}
        self.scale = self._combo("scale", tr("Enlarge"), sizes)
        self.lock = self._check("color_lock", tr("Hold the colours"))
        self._reset = QPushButton(tr("Reset"))
        self._reset.setToolTip(tr("Put strength, model and colours back to their defaults"))
        self._reset.clicked.connect(lambda: self._preferences.reset(*LOOKS))
        self._layout.addWidget(heading(tr("Noise")))
        for part in (self.strength, self.luma, self.chroma):
            self._layout.addWidget(part)
        form = self._form()
        form.addRow(tr("&Model"), self.model)
        form.addRow(tr("&Enlarge"), self.scale)
        form.addRow(self.lock)
        self._layout.addWidget(self._reset)

    def _add_results(self) -> None:
        tr, window = self.tr, self._preferences.window
        self._layout.addWidget(heading(tr("Results")))
        self.folder = FolderField(
            tr("Folder for the results"), tr("Beside the originals"), lambda: self.output
        )
        self.folder.set_text(str(window.value("output", "")))
        self.folder.chosen.connect(self._folder_chosen)
        save_to = QLabel(tr("&Save to"))
        save_to.setBuddy(self.folder)
        self._layout.addWidget(save_to)
        self._layout.addWidget(self.folder)
        self._where = quiet(QLabel())
        self._layout.addWidget(self._where)
        names = {"keep": tr("As the original")}
        self.format = self._combo("format", tr("Format of the results"), names)
        self.quality = QSpinBox(minimum=0, maximum=100)
        self.quality.setSpecialValueText(tr("As the original"))
        self.quality.setAccessibleName(tr("Quality of the results"))
        self.quality.setToolTip(BY_NAME["quality"].help)
        self.quality.valueChanged.connect(
            lambda value: self._preferences.set("quality", value or None)
        )
        self.rule = QComboBox()
        self.rule.setAccessibleName(tr("If a result exists"))
        for key, text in zip(
            RULES, (tr("Leave it and say so"), tr("Skip the photo"), tr("Replace it")), strict=True
        ):
            self.rule.addItem(text, key)
        self.rule.setCurrentIndex(max(0, self.rule.findData(window.value("rule", "refuse"))))
        self.rule.currentIndexChanged.connect(self._rule_chosen)
        form = self._form()
        form.addRow(tr("&Format"), self.format)
        form.addRow(tr("&Quality"), self.quality)
        form.addRow(tr("If it e&xists"), self.rule)
        self._say_where()

    def _add_machine(self) -> None:
        tr = self.tr
        self._layout.addWidget(heading(tr("This computer")))
        self.device = self._combo("device", tr("Device"), {"auto": tr("Automatic")})
        form = self._form()
        form.addRow(tr("&Device"), self.device)
        self.humble = self._check("low_priority", tr("Low priority"))
        form.addRow(self.humble)

    # -- what was chosen ------------------------------------------------------------------------

    @property
    def output(self) -> str:
        """The folder for results; empty for beside the originals."""
        return self.folder.text()

    @property
    def existing(self) -> str:
        """What happens to results that exist: `refuse`, `skip` or `overwrite`."""
        return str(self.rule.currentData())

    def set_models(self, models: Sequence[dict[str, Any]]) -> None:
        """Offer these models."""
        wanted = self._preferences.get("model")
        with QSignalBlocker(self.model):
            self.model.clear()
            self.model.addItem(self.tr("Automatic"), "auto")
            for each in models:
                if not each.get("problem"):
                    self.model.addItem(str(each["name"]), str(each["name"]))
                    row = self.model.count() - 1
                    self.model.setItemData(row, str(each.get("title", "")), 3)  # its tool tip
            if self.model.findData(wanted) < 0:
                self.model.addItem(str(wanted), wanted)
        self.refresh()

    def refresh(self) -> None:
        """Show the settings as they are."""
        get = self._preferences.get
        for slider, name in ((self.strength, "strength"), (self.luma, "luma"),
                             (self.chroma, "chroma")):  # fmt: skip
            slider.set_share(get(name))
        boxes = [(self.model, "model")]
        if hasattr(self, "device"):
            boxes += [(self.format, "format"), (self.device, "device"), (self.scale, "scale")]
            with QSignalBlocker(self.quality):
                self.quality.setValue(get("quality") or 0)
            self.quality.setEnabled(get("format") in LOSSY)
            with QSignalBlocker(self.humble):
                self.humble.setChecked(get("low_priority"))
        for box, name in boxes:
            with QSignalBlocker(box):
                value = get(name)
                box.setCurrentIndex(max(0, box.findData("auto" if value is None else str(value))))
        if hasattr(self, "lock"):
            with QSignalBlocker(self.lock):
                self.lock.setChecked(get("color_lock"))

    # -- making them ----------------------------------------------------------------------------

    def _form(self) -> QFormLayout:
        form = QFormLayout()
        form.setSpacing(8)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self._layout.addLayout(form)
        return form

    def _slider(self, name: str, title: str, most: int) -> PercentSlider:
        slider = PercentSlider(title, most, BY_NAME[name].help)
        slider.moved.connect(lambda share: self._preferences.set(name, share))
        return slider

    def _combo(self, name: str, title: str, names: Mapping[str, str]) -> QComboBox:
        """A choice of a setting's values, under the names given or their own in capitals."""
        box, setting = QComboBox(), BY_NAME[name]
        for choice in (*(("auto",) if setting.optional else ()), *setting.choices):
            box.addItem(names.get(choice, choice.upper()), choice)
        box.setAccessibleName(title)
        box.setToolTip(setting.help)
        box.currentIndexChanged.connect(lambda: self._picked(name, box))
        return box

    def _picked(self, name: str, box: QComboBox) -> None:
        if box.currentData() is not None:
            self._preferences.set(name, box.currentData())

    def _check(self, name: str, title: str) -> QCheckBox:
        box = QCheckBox(title)
        box.setToolTip(BY_NAME[name].help)
        box.toggled.connect(lambda on: self._preferences.set(name, on))
        return box

    def _folder_chosen(self, text: str) -> None:
        self._preferences.window.setValue("output", text)
        self._say_where()
        self.output_changed.emit()

    def _rule_chosen(self) -> None:
        self._preferences.window.setValue("rule", self.existing)
        self.output_changed.emit()

    def _say_where(self) -> None:
        beside = self.tr("photo_clean.jpg beside photo.jpg; photos-clean beside the folder photos.")
        self._where.setText(beside)
        self._where.setVisible(not self.output)
