"""Writers of the TIFF layouts that scanners make, small, with the scale as it is given."""

from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from tests.making import halved

Image = NDArray[np.uint8]


def flat_image(width: int = 64, height: int = 48) -> Image:
    return np.full((height, width, 3), 200, np.uint8)


def write_page(path: Path, image: NDArray[Any] | None = None, **options: Any) -> Path:
    """One tiled page, JPEG unless `options` say otherwise."""
    options = {"tile": (32, 32), "photometric": "rgb", "compression": "jpeg", **options}
    if options["tile"] is None:
        del options["tile"]
    pixels = flat_image() if image is None else image
    tifffile.imwrite(path, pixels, metadata=None, **options)
    return path


def aperio_text(mpp: str | None) -> str:
    """Description of an Aperio slide's first page."""
    text = "Aperio Image Library v12.0.15 \r\n64x48 (32x32) JPEG/RGB Q=80|AppMag = 20"
    return text if mpp is None else f"{text}|MPP = {mpp}|Left = 1.0"


def ome_text(attributes: str) -> str:
    """Description of an OME-TIFF's first page."""
    schema = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><OME xmlns="{schema}"><Image ID="Image:0">'
        f'<Pixels ID="Pixels:0" SizeX="64" SizeY="48" {attributes}/></Image></OME>'
    )


def philips_text(spacing: str, levels: int = 1) -> str:
    """Description of a Philips slide's first page; DICOM_PIXEL_SPACING as given, mm."""

    def attribute(name: str, kind: str, value: str) -> str:
        place = 'Group="0x301D" Element="0x1004"'
        return f'<Attribute Name="{name}" {place} PMSVR="{kind}">{value}</Attribute>'

    def array(name: str, objects: str) -> str:
        return attribute(name, "IDataObjectArray", f"<Array>{objects}</Array>")

    pixels = "".join(
        f'<DataObject ObjectType="PixelDataRepresentation">'
        f"{attribute('DICOM_PIXEL_SPACING', 'IDoubleArray', _scaled(spacing, 2**level))}"
        f"{attribute('PIIM_PIXEL_DATA_REPRESENTATION_NUMBER', 'IUInt16', str(level))}</DataObject>"
        for level in range(levels)
    )
    scanned = (
        '<DataObject ObjectType="DPScannedImage">'
        f"{attribute('PIM_DP_IMAGE_TYPE', 'IString', 'WSI')}"
        f"{array('PIIM_PIXEL_DATA_REPRESENTATION_SEQUENCE', pixels)}"
        f"{attribute('DICOM_PIXEL_SPACING', 'IDoubleArray', spacing)}</DataObject>"
    )
    return (
        '<?xml version="1.0" encoding="UTF-8" ?><DataObject ObjectType="DPUfsImport">'
        f"{attribute('DICOM_MANUFACTURER', 'IString', 'PHILIPS')}"
        f"{array('PIM_DP_SCANNED_IMAGES', scanned)}</DataObject>"
    )


def _scaled(spacing: str, factor: int) -> str:
    values = [float(text) * factor for text in spacing.replace("&quot;", " ").split()]
    return " ".join(f"&quot;{value:.9f}&quot;" for value in values)


def write_philips(path: Path, image: Image, mpp: float, levels: int, tile: int = 512) -> Path:
    """Philips' layout: every level padded to whole tiles, the true scale in the XML."""
    spacing = " ".join([f"&quot;{mpp / 1000:.9f}&quot;"] * 2)
    with tifffile.TiffWriter(path) as writer:
        for level in range(levels):
            page = halved(image, level) if level else image
            rows, columns = (-(-side // tile) * tile for side in page.shape[:2])
            padded = np.full((rows, columns, 3), 255, np.uint8)
            padded[: page.shape[0], : page.shape[1]] = page
            writer.write(
                padded,
                tile=(tile, tile),
                photometric="rgb",
                compression="jpeg",
                metadata=None,
                software="Philips DP v1.0",
                subfiletype=int(level > 0),
                description=philips_text(spacing, levels) if level == 0 else f"level={level}",
            )
    return path
