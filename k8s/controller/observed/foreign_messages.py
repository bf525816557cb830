"""Translation of messages of other programs: the fields of the resource in place of the trainer's settings."""

from __future__ import annotations

import re

from k8s.controller.api.v1alpha1 import TextClassifierSpec, TrainingRunSpec

# The trainer's settings -> fields of the resource, where the names differ.
FIELDS = {
    "dataset.label_columns": "spec.dataset.labelColumn",
    "training.num_epochs": "spec.training.epochs",
    "balance.sampling": "spec.training.balance.strategy",
    "balance.oversample_share": "spec.training.balance.share",
    "balance.threshold": "spec.training.balance.threshold",
    "balance.loss": "spec.training.balance.loss",
    "tracking.uri": "spec.training.tracking.uri",
    "tracking.experiment": "spec.training.tracking.experiment",
    "gate.served_uri": "spec.served.uri",
    "gate.served_manifest_sha256": "spec.served.manifestSha256",
    "output_dir": "spec.storage.uri",
}
SETTING = re.compile(
    r"(?<![\w./])(?:(?:dataset|training|gate)\.[a-z_0-9]+|balance\.[a-z_]+|tracking\.[a-z_]+|output_dir)(?![\w/])"
)
# Fields of generated objects -> fields of the resource.
GENERATED_FIELDS = (("spec.template.spec.containers[0].resources", "spec.training.resources"),)
OF_TRAINING = re.compile(r"^(?:spec\.training\.\w+(?:, )?)+: ")
NO_COLUMN = re.compile(r" has no column ((?:'[^']*'(?:, )?)+)")
Table = tuple[tuple[re.Pattern[str], str], ...]
# Messages of the node, the scheduler and libraries -> the field that causes them.
CAUSES: Table = (
    (re.compile(r'secret "[^"]*" not found'), "spec.storage.secretName"),
    (re.compile(r'serviceaccount "[^"]*" not found', re.IGNORECASE), "spec.storage.serviceAccountName"),
    (re.compile(r"node\(s\) didn't match Pod's node affinity/selector"), "spec.training.nodeSelector"),
    (re.compile(r"Insufficient [\w./-]+|OOMKilled|exceeded quota"), "spec.training.resources"),
    (re.compile(r"InvalidAccessKeyId|SignatureDoesNotMatch|An error occurred \(403\)"), "spec.storage.secretName"),
    (re.compile(r"^(?:hf|kaggle):// needs the library"), "spec.dataset.uri"),
    (re.compile(r"active longer than specified deadline"), "spec.training.timeout"),
)
# Every cluster has tainted nodes, so taints are named only if there is no other cause.
CAUSES_IF_NO_OTHER: Table = ((re.compile(r"untolerated taint"), "spec.training.tolerations"),)


def in_the_users_terms(message: str, spec: TextClassifierSpec | TrainingRunSpec | None = None) -> str:
    """Return the message with fields of the resource in place of the trainer's settings, and with the field that causes it.

    spec: if given, a message that names an address but no field gets the field with that address.
    """
    for made, field in GENERATED_FIELDS:
        message = message.replace(made, field)
    translated = in_fields(message)
    fields = _causes(translated, CAUSES) or _causes(translated, CAUSES_IF_NO_OTHER)
    if spec is not None and not fields and "spec." not in translated:
        fields = _fields_of_missing_columns(translated, spec) or _field_of_address(translated, spec)
    unnamed = [field for field in fields if field not in translated]
    return f"{', '.join(unnamed)}: {translated}" if unnamed else translated


def in_fields(message: str) -> str:
    """Return the message with the resource's fields in place of the trainer's settings."""
    return SETTING.sub(lambda setting: FIELDS.get(setting[0], f"spec.{_camel(setting[0])}"), message)


def of_maintenance_jobs(message: str, spec: TextClassifierSpec) -> str:
    """Translate a message of a Job that checks the dataset or deletes versions, without the fields of trainings."""
    return OF_TRAINING.sub("", in_the_users_terms(message, spec))


def of_serving(message: str) -> str:
    """Translate a message of a serving Pod."""
    return re.sub(r"spec\.training\.(resources|nodeSelector|tolerations)", r"spec.serving.\1", in_the_users_terms(message))


def _fields_of_missing_columns(message: str, spec: TextClassifierSpec | TrainingRunSpec) -> list[str]:
    """Return the fields that name columns which a file does not have."""
    found, dataset = NO_COLUMN.search(message), spec.dataset
    if found is None or dataset is None:
        return []
    missing = set(re.findall(r"'([^']*)'", found[1]))
    texts, several = set(dataset.text_columns), set(dataset.label_columns or ())
    fields = ["spec.dataset.textColumns"] if missing & texts else []
    if missing - texts:
        fields.append("spec.dataset.labelColumns" if several else "spec.dataset.labelColumn")
    return fields


def _field_of_address(message: str, spec: TextClassifierSpec | TrainingRunSpec) -> list[str]:
    """Return the field with the longest address in the message."""
    addresses = {
        "spec.dataset.uri": spec.dataset.uri if spec.dataset else None,
        "spec.dataset.testUri": spec.dataset.test_uri if spec.dataset else None,
        "spec.dataset.corrections": spec.dataset.corrections if spec.dataset else None,
        "spec.training.baseModel": spec.training.base_model if spec.training else None,
        "spec.storage.uri": spec.storage.uri if spec.storage else None,
    }
    mentioned = {field: value.rstrip("/") for field, value in addresses.items() if value and value.rstrip("/") in message}
    return sorted(mentioned, key=lambda field: len(mentioned[field]))[-1:]


def _causes(message: str, known: Table) -> list[str]:
    return [field for pattern, field in known if pattern.search(message)]


def _camel(setting: str) -> str:
    return re.sub(r"_([a-z])", lambda letter: letter[1].upper(), setting)
