"""PDFs made by hand, sound and otherwise."""

import io
import zlib


def pdf(*pages: str, title: str = "", stream: bytes | None = None) -> bytes:
    """A document with a line of text on each page, or one with the given content stream (Flate) on its one page."""
    streams = (
        [stream]
        if stream is not None
        else [zlib.compress(f"BT /F1 12 Tf 72 700 Td ({text}) Tj ET".encode()) for text in pages]
    )
    kids = " ".join(f"{4 + 2 * index} 0 R" for index in range(len(streams)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(streams)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for index, content in enumerate(streams):
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources << /Font << /F1 3 0 R >> >> "
            f"/Contents {5 + 2 * index} 0 R >>".encode()
        )
        objects.append(
            f"<< /Length {len(content)} /Filter /FlateDecode >>\nstream\n".encode() + content + b"\nendstream"
        )
    objects.append(f"<< /Title ({title}) >>".encode())
    return assemble(objects)


def assemble(objects: list[bytes]) -> bytes:
    """A file of numbered objects; the first is the catalog, the last the information about the document."""
    out = bytearray(b"%PDF-1.7\n")
    offsets = []
    for number, content in enumerate(objects, start=1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n".encode() + content + b"\nendobj\n"
    start = len(out)
    out += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode()
    out += b"".join(f"{offset:010} 00000 n \n".encode() for offset in offsets)
    out += f"trailer << /Size {len(objects) + 1} /Root 1 0 R /Info {len(objects)} 0 R >>\n".encode()
    return bytes(out + f"startxref\n{start}\n%%EOF".encode())


def encrypted(document: bytes, password: str) -> bytes:
    from pypdf import PdfReader, PdfWriter

    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(document)))
    writer.encrypt(password, algorithm="RC4-128")
    written = io.BytesIO()
    writer.write(written)
    return written.getvalue()


def page_tree_in_itself() -> bytes:
    return assemble(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [2 0 R 2 0 R] /Count 2 /Parent 2 0 R >>",
            b"<< /Title (loop) >>",
        ]
    )


def deep_page_tree(depth: int) -> bytes:
    nodes = [f"<< /Type /Pages /Kids [{number + 3} 0 R] /Count 1 >>".encode() for number in range(depth)]
    return assemble([b"<< /Type /Catalog /Pages 2 0 R >>", *nodes, b"<< /Type /Page >>", b"<< >>"])


def deep_arrays(depth: int) -> bytes:
    return assemble([b"<< /Type /Catalog /Pages 2 0 R >>", b"[" * depth + b"]" * depth, b"<< >>"])


def form_in_itself() -> bytes:
    content = b"/X Do"
    form = b"<< /Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /XObject << /X 5 0 R >> >> /Length 5 >>"
    return assemble(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 4 0 R"
            b" /Resources << /XObject << /X 5 0 R >> >> >>",
            b"<< /Length 5 >>\nstream\n" + content + b"\nendstream",
            form + b"\nstream\n" + content + b"\nendstream",
            b"<< >>",
        ]
    )
