//! `SecretKey` and `PublicKey`.

use std::collections::BTreeMap;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyMapping};
use rand_chacha::ChaCha20Rng;
use tacit_ckks::{CkksError, EvaluationKeys, Parameters, PublicKey, SecretKey, SwitchingKey};
use tacit_team::Team;
use zeroize::Zeroizing;

use crate::cipher::{PyCiphertext, PyPlaintext};
use crate::error::{Class, detached, detached_read};
use crate::evaluation_keys::PyEvaluationKeys;
use crate::integers::{Integer, Level};
use crate::parameters::PyParameters;
use crate::randomness::Source;
use crate::threads;

/// The owner's secret. It does not print, compare or pickle.
#[pyclass(frozen, name = "SecretKey", module = "tacit._native")]
pub(crate) struct PySecretKey {
    key: SecretKey,
    source: Source,
}

#[pymethods]
impl PySecretKey {
    /// A new key from the randomness of the operating system.
    #[staticmethod]
    fn generate(py: Python<'_>, params: &PyParameters) -> PyResult<Self> {
        Self::from_source(py, &params.0, Source::System)
    }

    /// A key whose every operation is determined by a seed, for tests and vectors only.
    #[staticmethod]
    fn insecure_from_seed(py: Python<'_>, params: &PyParameters, seed: &[u8]) -> PyResult<Self> {
        let Ok(seed) = <[u8; 32]>::try_from(seed) else {
            let message = format!(
                "the 'seed' parameter must have 32 bytes; got {}",
                seed.len()
            );
            return Err(Class::InvalidParameter.error(message, ""));
        };
        Self::from_source(py, &params.0, Source::insecure_from_seed(seed))
    }

    /// Reads what `reveal_bytes` wrote.
    #[staticmethod]
    fn from_bytes(py: Python<'_>, params: &PyParameters, data: &[u8]) -> PyResult<Self> {
        let key = detached_read(py, || SecretKey::from_bytes(&params.0, data))?;
        Ok(Self {
            key,
            source: Source::System,
        })
    }

    #[getter]
    fn params(&self) -> PyParameters {
        PyParameters(self.key.params().clone())
    }

    /// The key that encrypts and does not decrypt.
    fn public_key(&self, py: Python<'_>) -> PyResult<PyPublicKey> {
        let mut generator = self.source.generator()?;
        let key = detached(py, || Ok(self.key.public_key(&mut generator)))?;
        Ok(PyPublicKey {
            key,
            source: self.source.clone(),
        })
    }

    /// Encrypts; the result is seeded, half the size of others.
    fn encrypt(&self, py: Python<'_>, pt: &PyPlaintext) -> PyResult<PyCiphertext> {
        let mut generator = self.source.generator()?;
        let ciphertext = detached(py, || self.key.encrypt(&pt.plaintext, &mut generator))?;
        Ok(PyCiphertext::new(self.key.params(), ciphertext))
    }

    /// Decrypts ciphertexts of degree 1 and 2.
    fn decrypt(&self, py: Python<'_>, ct: &PyCiphertext) -> PyResult<PyPlaintext> {
        let plaintext = detached(py, || self.key.decrypt(&ct.ciphertext))?;
        Ok(PyPlaintext::new(self.key.params(), plaintext))
    }

    /// The keys that an evaluator needs.
    #[pyo3(signature = (*, rotations=None, conjugate=None, relinearize=None, threads=1))]
    fn evaluation_keys(
        &self,
        py: Python<'_>,
        rotations: Option<&Bound<'_, PyAny>>,
        conjugate: Option<Level>,
        relinearize: Option<&Bound<'_, PyAny>>,
        threads: i64,
    ) -> PyResult<PyEvaluationKeys> {
        let (params, team) = (self.key.params(), threads::team(threads)?);
        let mut levels = BTreeMap::new();
        for (rotation, level) in rotations.map_or(Ok(Vec::new()), |r| rotation_levels(params, r))? {
            let element = params.galois_element(rotation);
            let known = levels.entry(element).or_insert(level);
            *known = level.max(*known);
        }
        // The identity needs no key.
        levels.remove(&1);
        if let Some(Level(level)) = conjugate {
            levels.insert(params.conjugation_element(), level);
        }
        let relinearize = match relinearize {
            Some(flag) if flag.is_instance_of::<PyBool>() => {
                flag.extract::<bool>()?.then_some(params.max_level())
            }
            Some(level) => level.extract::<Option<Level>>()?.map(|level| level.0),
            None => None,
        };
        // One generator for each key, drawn in order, so that the number of threads changes nothing.
        let relinearization = relinearize
            .map(|level| Ok::<_, PyErr>((level, self.source.generator()?)))
            .transpose()?;
        let galois = levels
            .into_iter()
            .map(|(element, level)| Ok((element, level, self.source.generator()?)))
            .collect::<PyResult<Vec<_>>>()?;
        let keys = detached(py, || {
            self.make_keys(relinearization, galois, team.as_deref())
        })?;
        Ok(PyEvaluationKeys {
            params: params.clone(),
            keys: Arc::new(keys),
        })
    }

    /// The secret itself, unprotected.
    fn reveal_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &Zeroizing::new(self.key.reveal_bytes()))
    }

    fn __repr__(&self) -> String {
        let origin = if self.source.is_insecure() {
            " insecure seed"
        } else {
            ""
        };
        format!("<SecretKey n={}{origin}>", self.key.params().n())
    }

    fn __eq__(&self, _other: &Bound<'_, PyAny>) -> PyResult<bool> {
        Err(Class::Usage.error(
            "secret keys cannot be compared",
            "compare what they decrypt, or `is`",
        ))
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(Class::Usage.error(
            "secret keys cannot be pickled or copied",
            "use reveal_bytes for a key store",
        ))
    }
}

impl PySecretKey {
    fn from_source(py: Python<'_>, params: &Parameters, source: Source) -> PyResult<Self> {
        let mut generator = source.generator()?;
        let key = detached(py, || Ok(SecretKey::generate(params, &mut generator)))?;
        Ok(Self { key, source })
    }

    fn make_keys(
        &self,
        relinearization: Option<(usize, ChaCha20Rng)>,
        galois: Vec<(u64, usize, ChaCha20Rng)>,
        team: Option<&Team>,
    ) -> Result<EvaluationKeys, CkksError> {
        type Made = Result<(Option<u64>, SwitchingKey), CkksError>;
        let make = |(element, level, mut generator): (Option<u64>, usize, ChaCha20Rng)| -> Made {
            let key = match element {
                Some(element) => self.key.galois_key(element, level, &mut generator)?,
                None => self.key.relinearization_key(level, &mut generator)?,
            };
            Ok((element, key))
        };
        let first = relinearization.map(|(level, generator)| (None, level, generator));
        let rest = galois
            .into_iter()
            .map(|(element, level, generator)| (Some(element), level, generator));
        let wanted: Vec<_> = first.into_iter().chain(rest).collect();
        let made: Vec<Made> = match team {
            Some(team) => team.map(wanted, make),
            None => wanted.into_iter().map(make).collect(),
        };
        let (mut relinearization, mut galois) = (None, BTreeMap::new());
        for key in made {
            match key? {
                (Some(element), key) => drop(galois.insert(element, key)),
                (None, key) => relinearization = Some(key),
            }
        }
        EvaluationKeys::new(self.key.params(), relinearization, galois)
    }
}

/// `{rotation: level}`, or a sequence of rotations that are used at the top level.
fn rotation_levels(
    params: &Parameters,
    rotations: &Bound<'_, PyAny>,
) -> PyResult<Vec<(i64, usize)>> {
    if rotations.cast::<PyMapping>().is_ok() {
        return rotations
            .call_method0("items")?
            .try_iter()?
            .map(|item| {
                item?
                    .extract()
                    .map(|(Integer(rotation), Level(level))| (rotation, level))
            })
            .collect();
    }
    rotations
        .try_iter()?
        .map(|item| {
            item?
                .extract()
                .map(|Integer(rotation)| (rotation, params.max_level()))
        })
        .collect()
}

/// Encrypts, does not decrypt.
#[pyclass(frozen, name = "PublicKey", module = "tacit._native")]
pub(crate) struct PyPublicKey {
    key: PublicKey,
    source: Source,
}

#[pymethods]
impl PyPublicKey {
    #[getter]
    fn params(&self) -> PyParameters {
        PyParameters(self.key.params().clone())
    }

    /// Encrypts.
    fn encrypt(&self, py: Python<'_>, pt: &PyPlaintext) -> PyResult<PyCiphertext> {
        let mut generator = self.source.generator()?;
        let ciphertext = detached(py, || self.key.encrypt(&pt.plaintext, &mut generator))?;
        Ok(PyCiphertext::new(self.key.params(), ciphertext))
    }

    /// The binary form.
    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = detached(py, || Ok(self.key.to_bytes()))?;
        Ok(PyBytes::new(py, &bytes))
    }

    /// Reads the binary form.
    #[staticmethod]
    fn from_bytes(py: Python<'_>, params: &PyParameters, data: &[u8]) -> PyResult<Self> {
        let key = detached_read(py, || PublicKey::from_bytes(&params.0, data))?;
        Ok(Self {
            key,
            source: Source::System,
        })
    }

    fn __repr__(&self) -> String {
        format!("<PublicKey n={}>", self.key.params().n())
    }
}
