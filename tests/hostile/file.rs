//! A GGUF file as it is described before it is written: any field may say anything.
//!
//! The product's own writer refuses to write what its reader would refuse; this one writes it.

/// Numbers of GGUF's value types.
pub const U32: u32 = 4;
pub const F32: u32 = 6;
pub const BOOL: u32 = 7;
pub const STRING: u32 = 8;
pub const ARRAY: u32 = 9;

/// A value's type and its encoded bytes.
#[derive(Clone, Debug)]
pub struct Encoded {
    pub value_type: u32,
    pub bytes: Vec<u8>,
}

impl Encoded {
    pub fn u32(value: u32) -> Self {
        Self { value_type: U32, bytes: value.to_le_bytes().to_vec() }
    }

    pub fn f32(value: f32) -> Self {
        Self { value_type: F32, bytes: value.to_le_bytes().to_vec() }
    }

    pub fn bool(value: bool) -> Self {
        Self { value_type: BOOL, bytes: vec![u8::from(value)] }
    }

    pub fn text(value: &[u8]) -> Self {
        Self { value_type: STRING, bytes: string(value) }
    }

    pub fn strings<S: AsRef<[u8]>>(values: &[S]) -> Self {
        let elements: Vec<u8> = values.iter().flat_map(|text| string(text.as_ref())).collect();
        Self::array(STRING, values.len() as u64, &elements)
    }

    pub fn f32s(values: &[f32]) -> Self {
        let elements: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self::array(F32, values.len() as u64, &elements)
    }

    pub fn i32s(values: &[i32]) -> Self {
        let elements: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self::array(5, values.len() as u64, &elements)
    }

    pub fn array(element: u32, count: u64, elements: &[u8]) -> Self {
        let bytes = [&element.to_le_bytes()[..], &count.to_le_bytes(), elements].concat();
        Self { value_type: ARRAY, bytes }
    }
}

/// A tensor of the table; its bytes follow from what the table says only if nothing was changed.
#[derive(Clone, Debug)]
pub struct Tensor {
    pub name: Vec<u8>,
    pub dims: Vec<u64>,
    pub ggml_type: u32,
    /// Said instead of the place where the bytes are.
    pub offset: Option<u64>,
    pub data: Vec<u8>,
}

/// A whole file.
#[derive(Clone, Debug)]
pub struct Description {
    pub version: u32,
    /// Said instead of what is there.
    pub key_count: Option<u64>,
    pub tensor_count: Option<u64>,
    pub keys: Vec<(Vec<u8>, Encoded)>,
    pub tensors: Vec<Tensor>,
    /// What the data are padded to.
    pub alignment: usize,
    /// Bytes behind the last tensor.
    pub behind: Vec<u8>,
    /// Cut to this many bytes.
    pub cut: Option<usize>,
}

impl Default for Description {
    fn default() -> Self {
        Self {
            version: 3,
            key_count: None,
            tensor_count: None,
            keys: Vec::new(),
            tensors: Vec::new(),
            alignment: 32,
            behind: Vec::new(),
            cut: None,
        }
    }
}

impl Description {
    pub fn set(&mut self, key: &str, value: Encoded) {
        match self.keys.iter_mut().find(|(known, _)| known == key.as_bytes()) {
            Some((_, known)) => *known = value,
            None => self.keys.push((key.as_bytes().to_vec(), value)),
        }
    }

    /// A tensor of F32 with values that follow from its place.
    pub fn floats(&mut self, name: &str, dims: &[u64]) {
        let count = dims.iter().product::<u64>() as usize;
        let index = self.tensors.len();
        let value = move |i: usize| ((i * 7 + index * 5) % 23) as f32 / 64.0 - 0.17;
        let data = (0..count).flat_map(|i| value(i).to_le_bytes()).collect();
        let (name, dims) = (name.as_bytes().to_vec(), dims.to_vec());
        self.tensors.push(Tensor { name, dims, ggml_type: 0, offset: None, data });
    }

    /// The file.
    pub fn write(&self) -> Vec<u8> {
        let mut file = b"GGUF".to_vec();
        file.extend(self.version.to_le_bytes());
        let tensors = self.tensor_count.unwrap_or(self.tensors.len() as u64);
        file.extend(tensors.to_le_bytes());
        file.extend(self.key_count.unwrap_or(self.keys.len() as u64).to_le_bytes());
        for (key, value) in &self.keys {
            file.extend(string(key));
            file.extend(value.value_type.to_le_bytes());
            file.extend(&value.bytes);
        }
        let mut place = 0u64;
        for tensor in &self.tensors {
            file.extend(string(&tensor.name));
            file.extend((tensor.dims.len() as u32).to_le_bytes());
            tensor.dims.iter().for_each(|dim| file.extend(dim.to_le_bytes()));
            file.extend(tensor.ggml_type.to_le_bytes());
            file.extend(tensor.offset.unwrap_or(place).to_le_bytes());
            place += tensor.data.len().next_multiple_of(self.alignment) as u64;
        }
        for tensor in &self.tensors {
            file.resize(file.len().next_multiple_of(self.alignment), 0);
            file.extend(&tensor.data);
        }
        file.resize(file.len().next_multiple_of(self.alignment), 0);
        file.extend(&self.behind);
        file.truncate(self.cut.unwrap_or(usize::MAX));
        file
    }
}

/// A string with its length in front.
fn string(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text].concat()
}
