"""Every call about what the site takes in."""

from crossport.client.call import Call, path
from crossport.model.import_policy import ImportPolicyRequest, KeptImportPolicy

__all__ = ["import_policy", "reset_import_policy", "set_import_policy"]


def import_policy() -> Call[KeptImportPolicy]:
    """Return the import policy that holds."""
    return Call("GET", path("import-policy"), KeptImportPolicy)


def set_import_policy(request: ImportPolicyRequest) -> Call[KeptImportPolicy]:
    """Let an import policy hold."""
    return Call("POST", path("import-policy"), KeptImportPolicy, request)


def reset_import_policy() -> Call[KeptImportPolicy]:
    """Let the import policy hold that a site begins with."""
    return Call("DELETE", path("import-policy"), KeptImportPolicy)
