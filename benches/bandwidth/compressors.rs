//! General compressors that are given the previous document: zstd as a patch from it, brotli with it as dictionary.

use crate::codecs::{Codec, Decoded, WHOLE};
use crate::traces::TraceDocument;
use tombolo_delta::{from_cbor, to_cbor};
use zstd::zstd_safe::{CCtx, CParameter, DCtx, DParameter, FrameFormat};

/// The level that makes the smallest messages without the memory of the ultra levels.
const ZSTD_LEVEL: i32 = 19;
/// No document of a trace is larger.
const DOCUMENT_BYTES_MAX: usize = 16 << 20;

pub(crate) fn all() -> Vec<Box<dyn Codec>> {
    vec![
        Box::new(Zstd { name: "zstd19-json", form: CompressedForm::Json }),
        Box::new(Zstd { name: "zstd19-cbor", form: CompressedForm::Cbor }),
        Box::new(Brotli { name: "brotli-cbor", form: CompressedForm::Cbor }),
    ]
}

#[derive(Clone, Copy)]
enum CompressedForm {
    Json,
    Cbor,
}

impl CompressedForm {
    fn write(self, document: &TraceDocument) -> Vec<u8> {
        match self {
            CompressedForm::Json => document.json_text.clone(),
            CompressedForm::Cbor => to_cbor(&document.value),
        }
    }

    fn read(self, bytes: &[u8]) -> Option<Decoded> {
        match self {
            CompressedForm::Json => serde_json::from_slice(bytes).ok().map(Decoded::Json),
            CompressedForm::Cbor => from_cbor(bytes, &WHOLE).ok().map(Decoded::Value),
        }
    }
}

struct Zstd {
    name: &'static str,
    form: CompressedForm,
}

impl Codec for Zstd {
    fn name(&self) -> &str {
        self.name
    }

    /// Without magic number, checksum, dictionary and content size: what both ends know anyway.
    fn encode(&mut self, base: &TraceDocument, target: &TraceDocument) -> Option<Vec<u8>> {
        let (old, new) = (self.form.write(base), self.form.write(target));
        let mut context = CCtx::create();
        for parameter in [
            CParameter::CompressionLevel(ZSTD_LEVEL),
            CParameter::Format(FrameFormat::Magicless),
            CParameter::ContentSizeFlag(false),
            CParameter::ChecksumFlag(false),
            CParameter::DictIdFlag(false),
        ] {
            context.set_parameter(parameter).ok()?;
        }
        context.ref_prefix(&old).ok()?;
        let mut out = Vec::with_capacity(zstd::zstd_safe::compress_bound(new.len()));
        context.compress2(&mut out, &new).ok()?;
        Some(out)
    }

    fn decode(&mut self, base: &TraceDocument, _: u64, message: &[u8]) -> Option<Decoded> {
        let old = self.form.write(base);
        let mut context = DCtx::create();
        context.set_parameter(DParameter::Format(FrameFormat::Magicless)).ok()?;
        context.ref_prefix(&old).ok()?;
        let mut out = Vec::with_capacity((old.len() * 4 + 65_536).min(DOCUMENT_BYTES_MAX));
        context.decompress(&mut out, message).ok()?;
        self.form.read(&out)
    }
}

struct Brotli {
    name: &'static str,
    form: CompressedForm,
}

impl Codec for Brotli {
    fn name(&self) -> &str {
        self.name
    }

    fn encode(&mut self, base: &TraceDocument, target: &TraceDocument) -> Option<Vec<u8>> {
        let (old, new) = (self.form.write(base), self.form.write(target));
        let parameters = brotli::enc::BrotliEncoderParams { quality: 11, lgwin: 18, ..Default::default() };
        let mut out = Vec::new();
        let (mut input, mut output) = ([0; 4096], [0; 4096]);
        brotli::BrotliCompressCustomIoCustomDict(
            &mut brotli::IoReaderWrapper(&mut new.as_slice()),
            &mut brotli::IoWriterWrapper(&mut out),
            &mut input,
            &mut output,
            &parameters,
            brotli::enc::StandardAlloc::default(),
            &mut |_, _, _, _| (),
            &old,
            std::io::Error::other("cut off"),
        )
        .ok()?;
        Some(out)
    }

    fn decode(&mut self, base: &TraceDocument, _: u64, message: &[u8]) -> Option<Decoded> {
        let old = self.form.write(base);
        let mut out = Vec::new();
        let mut reader = brotli::Decompressor::new_with_custom_dict(message, 4096, old.into());
        std::io::Read::read_to_end(&mut reader, &mut out).ok()?;
        self.form.read(&out)
    }
}
