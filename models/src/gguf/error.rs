//! Why a GGUF file was refused, and what to do about it.

use super::value::ValueType;

/// A GGUF file that this reader does not accept.
///
/// Every variant names the key, tensor or limit at fault. The variants that mean "damaged or
/// hostile file" ask for a fresh copy; the others say which conversion helps.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GgufError {
    /// Fewer bytes than the fixed header.
    #[error("file has {bytes} bytes, a GGUF file has at least 24: download it again")]
    TooShort {
        /// Size of the file.
        bytes: u64,
    },
    /// More bytes than we accept.
    #[error("file has {bytes} bytes, the limit is {max}: choose a smaller or more quantized model")]
    TooLarge {
        /// Size of the file.
        bytes: u64,
        /// Largest size accepted.
        max: u64,
    },
    /// The first four bytes are not `GGUF`.
    #[error("file starts with {found:02x?}, not with \"GGUF\": convert the model to GGUF")]
    NotGguf {
        /// The four bytes found.
        found: [u8; 4],
    },
    /// A big-endian file.
    #[error("GGUF file is big-endian: convert it for little-endian machines")]
    WrongEndian,
    /// A version other than 2 or 3.
    #[error("GGUF version {found} is not supported (2 and 3 are): convert the model again")]
    Version {
        /// The version found.
        found: u32,
    },
    /// The file ends inside a field.
    #[error(
        "file ends inside {field} (at byte {at}: {needed} bytes needed, {left} left): \
         download it again"
    )]
    Truncated {
        /// Which field.
        field: &'static str,
        /// Where the field starts.
        at: u64,
        /// Size that the field claims.
        needed: u64,
        /// Bytes left in the file.
        left: u64,
    },
    /// A count or length above its limit.
    #[error("{field} is {found}, the limit is {max}: the file is damaged or not made for this use")]
    Limit {
        /// What is counted.
        field: &'static str,
        /// The count claimed.
        found: u64,
        /// Largest count accepted.
        max: u64,
    },
    /// Keys and tensors announced that cannot fit into the file.
    #[error("{keys} keys and {tensors} tensors do not fit into {left} bytes: download it again")]
    CountsExceedFile {
        /// Keys announced.
        keys: u64,
        /// Tensors announced.
        tensors: u64,
        /// Bytes left in the file.
        left: u64,
    },
    /// The allocator refused memory for the header.
    #[error("no memory for {bytes} bytes of model header: free memory and try again")]
    OutOfMemory {
        /// Bytes asked for.
        bytes: u64,
    },
    /// A key that is empty, too long, or not of `[a-z0-9._-]`.
    #[error("key number {index} is not 1 to 256 characters of [a-z0-9._-]: the file is damaged")]
    BadKey {
        /// Position of the key in the file.
        index: u64,
    },
    /// A key that occurs twice.
    #[error("key {key} occurs twice: convert the model again")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// A value type that GGUF does not know.
    #[error("key {key} has the unknown value type {found}: convert the model again")]
    UnknownValueType {
        /// The key.
        key: String,
        /// The type number found.
        found: u32,
    },
    /// An array of arrays.
    #[error("key {key} is an array of arrays, which no supported model needs")]
    NestedArray {
        /// The key.
        key: String,
    },
    /// A bool that is neither 0 nor 1.
    #[error("key {key} holds the bool {found}, neither 0 nor 1: the file is damaged")]
    BadBool {
        /// The key.
        key: String,
        /// The byte found.
        found: u8,
    },
    /// A string value that is not UTF-8.
    #[error("key {key} is not UTF-8 text: convert the model again")]
    NotUtf8 {
        /// The key.
        key: String,
    },
    /// A string or array longer than accepted.
    #[error("key {key} has length {found}, the limit is {max}: the file is damaged")]
    ValueTooLong {
        /// The key.
        key: String,
        /// Length claimed (bytes of a string, elements of an array).
        found: u64,
        /// Longest accepted.
        max: u64,
    },
    /// `general.alignment` out of range.
    #[error("general.alignment is {found}, not a power of two from 8 to 65536")]
    Alignment {
        /// The value found.
        found: u32,
    },
    /// A tensor name that is empty, too long or not UTF-8.
    #[error("tensor number {index} has no valid name (1 to 63 bytes of UTF-8)")]
    BadTensorName {
        /// Position of the tensor in the table.
        index: u64,
    },
    /// A tensor name that occurs twice.
    #[error("tensor {tensor} occurs twice: convert the model again")]
    DuplicateTensor {
        /// The tensor.
        tensor: String,
    },
    /// A number of dimensions other than 1 to 4.
    #[error("tensor {tensor} has {found} dimensions, not 1 to 4: the file is damaged")]
    DimensionCount {
        /// The tensor.
        tensor: String,
        /// The number found.
        found: u32,
    },
    /// A dimension of zero or beyond the limit.
    #[error("tensor {tensor}: dimension {axis} is {found}, not 1 to {max}: the file is damaged")]
    Dimension {
        /// The tensor.
        tensor: String,
        /// Which dimension, from 0.
        axis: u32,
        /// The size found.
        found: u64,
        /// Largest size accepted.
        max: u64,
    },
    /// More elements than accepted (or than 64 bits count).
    #[error("tensor {tensor} has more than {max} elements: the file is damaged")]
    TooManyElements {
        /// The tensor.
        tensor: String,
        /// Most elements accepted.
        max: u64,
    },
    /// A block type that the kernels do not compute on.
    #[error(
        "tensor {tensor} has block type {ggml_type}, which is not supported: quantize the model \
         to one of {supported}"
    )]
    UnknownBlockType {
        /// The tensor.
        tensor: String,
        /// ggml's number of the type.
        ggml_type: u32,
        /// Names of the supported types.
        supported: String,
    },
    /// Rows that are not whole blocks.
    #[error(
        "tensor {tensor}: rows of {cols} values are not whole blocks of {quant} ({block_len} \
         values): quantize the model again"
    )]
    PartialBlock {
        /// The tensor.
        tensor: String,
        /// Values in a row.
        cols: u64,
        /// Block type.
        quant: &'static str,
        /// Values in a block.
        block_len: u64,
    },
    /// Data that does not follow the tensor before without hole or overlap.
    #[error(
        "tensor {tensor} has offset {found}, {expected} expected (tensors follow each other, \
         padded to the alignment): convert the model again"
    )]
    Offset {
        /// The tensor.
        tensor: String,
        /// Offset found.
        found: u64,
        /// The only offset accepted.
        expected: u64,
    },
    /// Data that ends behind the end of the file.
    #[error("tensor {tensor} ends at byte {end} of a file of {bytes}: download it again")]
    TensorBeyondFile {
        /// The tensor.
        tensor: String,
        /// Where its data would end.
        end: u64,
        /// Size of the file.
        bytes: u64,
    },
    /// Bytes behind the last tensor.
    #[error("{found} bytes behind the last tensor (at most {max}): the file is damaged")]
    TrailingBytes {
        /// Bytes behind the padded end of the last tensor.
        found: u64,
        /// Most bytes accepted.
        max: u64,
    },
    /// A key that is needed and absent.
    #[error("key {key} is missing: convert the model with a current converter")]
    MissingKey {
        /// The key.
        key: String,
    },
    /// A key whose value has another type.
    #[error("key {key} has type {found}, {wanted} needed: convert the model again")]
    WrongType {
        /// The key.
        key: String,
        /// Type in the file.
        found: ValueType,
        /// Type needed.
        wanted: ValueType,
    },
}
