"""Certificates made with openssl: an authority, servers, clients."""
from lib.programs import need, run


class Authority:
    def __init__(self, directory, name="Test authority"):
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.certificate, self.key = directory / "ca.crt", directory / "ca.key"
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
                     "-subj", f"/CN={name}", "-keyout", self.key, "-out", self.certificate)

    @staticmethod
    def openssl(*words):
        return run(need("openssl"), *words).ok()

    def issue(self, common_name, names="DNS:localhost,IP:127.0.0.1,IP:::1", days=30, file=None):
        """(certificate, key) for a server or a client."""
        base = self.directory / (file or common_name.replace("/", "_").replace(" ", "_"))
        certificate, key, request, extensions = (base.with_suffix(end) for end in (".crt", ".key", ".csr", ".ext"))
        extensions.write_text(f"subjectAltName={names}\n")
        self.openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj",
                     f"/CN={common_name}", "-keyout", key, "-out", request)
        self.openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial",
                     "-days", str(days), "-extfile", extensions, "-out", certificate)
        return certificate, key
