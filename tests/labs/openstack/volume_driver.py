"""Cinder's own logging fake, with which a volume made from an image needs no copy."""

from cinder.tests import fake_driver


class VolumeDriver(fake_driver.FakeLoggingVolumeDriver):
    """Volumes without any bytes."""

    def clone_image(self, context, volume, image_location, image_meta, image_service):
        """Say that the volume has the image's content."""
        return {}, True
