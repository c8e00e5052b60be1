"""Objects in one S3 bucket: put, get, list, delete, sign. Everything is streamed; nothing trusts an ETag."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache, cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, Protocol

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from service.errors import Unavailable
from service.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Checksums = Literal["when_required", "when_supported"]
CHUNK = 2**20
PART = 16 * CHUNK  # of a streamed upload; S3 takes 10,000 parts, so up to 156 GiB
TRANSFER = TransferConfig(multipart_threshold=32 * CHUNK, multipart_chunksize=32 * CHUNK, max_concurrency=4)
LISTED = 1_000  # objects on a page of a list
ABSENT = {"404", "NoSuchKey", "NotFound"}


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...  # as many bytes as asked for, fewer only at the end


class Missing(Exception):
    """There is no object of that key."""


_session = cache(boto3.session.Session)  # reads its API descriptions once: each takes a tenth of a second
_one_at_a_time = Lock()  # clients may be shared by threads, sessions may not


def _client(endpoint_url: str | None, options: dict[str, Any]) -> "S3Client":
    with _one_at_a_time:
        client: S3Client = _session().client("s3", endpoint_url=endpoint_url, **options)
        return client


class ObjectStore:
    """One bucket. `public_endpoint_url` is only ever signed for: the host is part of the signature."""

    def __init__(
        self,
        bucket: str,
        *,
        endpoint_url: str | None = None,
        public_endpoint_url: str | None = None,
        region: str = "us-east-1",
        access_key: str | None = None,
        secret_key: str | None = None,
        checksums: Checksums = "when_required",
    ) -> None:
        self.bucket = bucket
        self._endpoint, self._public = endpoint_url, public_endpoint_url or endpoint_url
        self._options: dict[str, Any] = {
            "region_name": region,
            "aws_access_key_id": access_key,
            "aws_secret_access_key": secret_key,
            "config": Config(
                signature_version="s3v4",
                s3={"addressing_style": "path" if endpoint_url else "auto"},
                retries={"mode": "standard", "total_max_attempts": 6},
                connect_timeout=5,
                read_timeout=60,
                max_pool_connections=32,
                tcp_keepalive=True,
                request_checksum_calculation=checksums,
                response_checksum_validation=checksums,
            ),
        }

    @cached_property
    def client(self) -> "S3Client":
        return _client(self._endpoint, self._options)

    @cached_property
    def _signer(self) -> "S3Client":
        return _client(self._public, self._options)

    def reachable(self) -> None:
        """Raises Unavailable where the bucket does not answer."""
        try:
            self.client.head_bucket(Bucket=self.bucket)
        except (BotoCoreError, ClientError) as error:
            raise Unavailable("The bucket cannot be reached.") from error

    def ensure_bucket(self) -> None:
        """Make the bucket if it is not there."""
        try:
            self.client.head_bucket(Bucket=self.bucket)
        except ClientError:
            self.client.create_bucket(Bucket=self.bucket)

    def put(self, key: str, body: bytes, content_type: str = "application/octet-stream") -> None:
        self.client.put_object(Bucket=self.bucket, Key=key, Body=body, ContentType=content_type)

    def put_file(self, key: str, path: Path) -> tuple[int, str]:
        """Upload a file; returns its bytes and SHA-256."""
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
        self.client.upload_file(str(path), self.bucket, key, Config=TRANSFER)
        return path.stat().st_size, digest.hexdigest()

    def put_stream(self, key: str, stream: Readable) -> None:
        """Upload what can be read from `stream`, in parts: one is sent while the next is read, so that three are held
        at most. Where reading or sending fails, nothing is left."""
        first = stream.read(PART)
        if len(first) < PART:
            self.put(key, first)
            return
        upload_id = self.start_multipart(key)
        try:
            self.complete_multipart(key, upload_id, self._send_parts(key, upload_id, first, stream))
        except BaseException:
            with suppress(BotoCoreError, ClientError):
                self.abort_multipart(key, upload_id)
            raise

    def _send_parts(self, key: str, upload_id: str, part: bytes, stream: Readable) -> list[dict[str, Any]]:
        def send(number: int, body: bytes) -> dict[str, Any]:
            sent = self.client.upload_part(
                Bucket=self.bucket, Key=key, UploadId=upload_id, PartNumber=number, Body=body
            )
            return {"number": number, "etag": sent["ETag"]}

        done: list[dict[str, Any]] = []
        with ThreadPoolExecutor(1) as sender:
            sending = sender.submit(send, 1, part)
            while part := stream.read(PART):
                done.append(sending.result())
                sending = sender.submit(send, len(done) + 1, part)
            done.append(sending.result())
        return done

    def get(self, key: str, limit: int = 64 * CHUNK) -> bytes:
        """A small object whole. Raises Missing; ValueError over `limit` bytes."""
        try:
            answer = self.client.get_object(Bucket=self.bucket, Key=key)
        except ClientError as error:
            raise self._missing(error, key) from error
        if answer["ContentLength"] > limit:
            raise ValueError(f"{key} has more than {limit} bytes")
        return answer["Body"].read()

    def get_file(self, key: str, path: Path) -> None:
        """Download to a local file. Raises Missing."""
        try:
            self.client.download_file(self.bucket, key, str(path), Config=TRANSFER)
        except ClientError as error:
            raise self._missing(error, key) from error

    def size(self, key: str) -> int:
        """Bytes of an object. Raises Missing."""
        try:
            return self.client.head_object(Bucket=self.bucket, Key=key)["ContentLength"]
        except ClientError as error:
            raise self._missing(error, key) from error

    def keys(self, prefix: str) -> Iterator[str]:
        for page in self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=prefix, PaginationConfig={"PageSize": LISTED}
        ):
            for item in page.get("Contents", []):
                yield item["Key"]

    def pages(self, prefix: str) -> Iterator[list[tuple[str, int, float]]]:
        """(key, bytes, seconds since 1970 of its writing) of every object below `prefix`, a page at a time."""
        pages = self.client.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self.bucket, Prefix=prefix, PaginationConfig={"PageSize": LISTED}):
            yield [(item["Key"], item["Size"], item["LastModified"].timestamp()) for item in page.get("Contents", [])]

    def multipart_uploads(self, prefix: str) -> Iterator[tuple[str, str, float]]:
        """(key, upload id, seconds since 1970 of its beginning) of every multipart upload below `prefix` that was
        neither completed nor aborted."""
        pages = self.client.get_paginator("list_multipart_uploads")
        for page in pages.paginate(Bucket=self.bucket, Prefix=prefix):
            for upload in page.get("Uploads", []):
                if upload["Key"].startswith(prefix):
                    yield upload["Key"], upload["UploadId"], upload["Initiated"].timestamp()

    def delete(self, prefix: str) -> int:
        """Delete every object whose key begins with `prefix`; returns how many."""
        if prefix.count("/") < 2:
            raise ValueError(f"{prefix!r} is too short a prefix to delete by")
        deleted = 0
        for key in self.keys(prefix):  # a page at a time: however many there are, memory does not grow
            # one by one: not every S3-compatible server has batch deletes, and this runs in the background
            self.client.delete_object(Bucket=self.bucket, Key=key)
            deleted += 1
        return deleted

    def delete_one(self, key: str) -> None:
        """Delete the object of this key alone; one that is not there is no error."""
        self.client.delete_object(Bucket=self.bucket, Key=key)

    def sign_get(self, key: str, seconds: int, filename: str | None = None) -> str:
        """A URL from which anyone may download the object for so long; `filename` must be one of our own making."""
        params: dict[str, Any] = {"Bucket": self.bucket, "Key": key}
        if filename:
            params["ResponseContentDisposition"] = f'attachment; filename="{filename}"'
        return self._signer.generate_presigned_url("get_object", Params=params, ExpiresIn=seconds)

    def start_multipart(self, key: str) -> str:
        return self.client.create_multipart_upload(Bucket=self.bucket, Key=key)["UploadId"]

    def sign_part(self, key: str, upload_id: str, number: int, size: int, seconds: int) -> str:
        """A URL to PUT part `number` (from 1) of exactly `size` bytes to."""
        params = {
            "Bucket": self.bucket, "Key": key, "UploadId": upload_id, "PartNumber": number, "ContentLength": size,
        }  # fmt: skip
        return self._signer.generate_presigned_url("upload_part", Params=params, ExpiresIn=seconds)

    def parts(self, key: str, upload_id: str) -> list[dict[str, Any]]:
        """The parts that arrived: [{"number", "etag", "size"}]. Raises Missing for an unknown upload."""
        try:
            pages = list(
                self.client.get_paginator("list_parts").paginate(Bucket=self.bucket, Key=key, UploadId=upload_id)
            )
        except ClientError as error:
            raise Missing(f"there is no upload {upload_id}") from error
        return [
            {"number": part["PartNumber"], "etag": part["ETag"], "size": part["Size"]}
            for page in pages
            for part in page.get("Parts", [])
        ]

    def complete_multipart(self, key: str, upload_id: str, parts: list[dict[str, Any]]) -> None:
        done = [{"PartNumber": part["number"], "ETag": part["etag"]} for part in parts]
        self.client.complete_multipart_upload(
            Bucket=self.bucket,
            Key=key,
            UploadId=upload_id,
            MultipartUpload={"Parts": done},  # type: ignore[typeddict-item]
        )

    def abort_multipart(self, key: str, upload_id: str) -> None:
        self.client.abort_multipart_upload(Bucket=self.bucket, Key=key, UploadId=upload_id)

    def _missing(self, error: ClientError, key: str) -> Exception:
        code = error.response.get("Error", {}).get("Code", "")
        return Missing(f"there is no object {key}") if code in ABSENT else error


def object_store(settings: Settings) -> ObjectStore:
    """The bucket that the settings name."""
    key, secret = settings.s3_access_key, settings.s3_secret_key
    return ObjectStore(
        settings.s3_bucket,
        endpoint_url=settings.s3_endpoint_url,
        public_endpoint_url=settings.s3_public_endpoint_url,
        region=settings.s3_region,
        access_key=key.get_secret_value() if key else None,
        secret_key=secret.get_secret_value() if secret else None,
        checksums=settings.s3_checksums,
    )
