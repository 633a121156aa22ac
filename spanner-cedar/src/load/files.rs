//! The files of an access, from a directory or from memory.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use super::problem::{Problems, Source, no_problems, quoted, suggestion};
use crate::documents::{Document, Documents};

/// The purpose of a file, determined by its name.
enum Place {
    Organization,
    Manifest,
    Guardrail,
    Case,
    /// Not read: notes, cases and hidden files.
    Aside,
}

/// Collects files and counts them, so that no directory can exhaust memory.
#[derive(Default)]
struct Intake {
    documents: Documents,
    files: usize,
    bytes: usize,
}

/// A folder to read, and how to classify its files.
struct Ground<'d> {
    dir: &'d Path,
    /// The prefix of its files' names.
    prefix: String,
    /// The prefix of its files' names in the digest.
    digested: String,
    place: fn(&str, &mut Problems) -> Option<Place>,
    /// Whether the folder belongs to the access alone, so that an unreadable file is a problem.
    is_ours: bool,
}

/// Reads a directory, and the manifests in the models' own folders.
pub(crate) fn from_dir(dir: &Path, models: &[PathBuf], problems: &mut Problems) -> Documents {
    let mut intake = Intake::default();
    let ground = Ground {
        dir,
        prefix: String::new(),
        digested: String::new(),
        place,
        is_ours: true,
    };
    if intake.walk(&ground, problems) {
        intake.models(models, problems);
    }
    intake.finish(problems)
}

/// Reads the cases of a directory, if there are any.
pub(crate) fn cases_from_dir(dir: &Path, problems: &mut Problems) -> Vec<Document> {
    let mut intake = Intake::default();
    let cases = dir.join(CASES);
    if !dir.is_dir() {
        problems.file(&dir.display().to_string(), "this is no folder", "name one");
    } else if cases.exists() {
        let prefix = format!("{CASES}/");
        let ground = Ground {
            dir: &cases,
            digested: prefix.clone(),
            prefix,
            place: case,
            is_ours: true,
        };
        intake.walk(&ground, problems);
    }
    intake.documents.cases
}

/// Reads cases from memory.
pub(crate) fn cases_from_memory<N: Into<String>, T: Into<Vec<u8>>>(
    files: impl IntoIterator<Item = (N, T)>,
    problems: &mut Problems,
) -> Vec<Document> {
    let mut intake = Intake::default();
    for (name, bytes) in files {
        let (name, bytes) = (name.into(), bytes.into());
        let found = case(&name, problems);
        if !intake.take(found, (&name, &name), false, |_| Ok(bytes), problems) {
            break;
        }
    }
    intake.documents.cases
}

/// Reads files from memory.
pub(crate) fn from_memory<N: Into<String>, T: Into<Vec<u8>>>(
    files: impl IntoIterator<Item = (N, T)>,
    models: &[PathBuf],
    problems: &mut Problems,
) -> Documents {
    let mut intake = Intake::default();
    for (name, bytes) in files {
        let (name, bytes) = (name.into(), bytes.into());
        if name.split('/').any(is_hidden) {
            continue;
        }
        let found = place(&name, problems);
        if !intake.take(found, (&name, &name), false, |_| Ok(bytes), problems) {
            return intake.finish(problems);
        }
    }
    intake.models(models, problems);
    intake.finish(problems)
}

impl Intake {
    /// Collects the manifests in the models' own folders.
    fn models(&mut self, dirs: &[PathBuf], problems: &mut Problems) {
        for (number, dir) in dirs.iter().enumerate() {
            let shown = dir.display();
            if !dir.is_dir() {
                let advice = "name the folder that the models' own folders are in";
                problems.file(&shown.to_string(), "this is no folder", advice);
                continue;
            }
            let ground = Ground {
                dir,
                prefix: format!("{shown}/"),
                digested: format!("models/{number}/"),
                place: own,
                is_ours: false,
            };
            if !self.walk(&ground, problems) {
                return;
            }
        }
    }

    /// Collects the files of a folder. Symbolic links are followed if they stay inside it. `false`
    /// if a limit was reached and reading must stop.
    fn walk(&mut self, ground: &Ground<'_>, problems: &mut Problems) -> bool {
        let (bounds, astray) = (Bounds::of(ground), RefCell::new(Vec::new()));
        let entries = WalkDir::new(ground.dir)
            .min_depth(1)
            .max_depth(MAX_DEPTH)
            .follow_links(true)
            .sort_by_file_name()
            .into_iter()
            .filter_entry(|entry| {
                let seen = entry.depth() == 0 || !is_hidden(&entry.file_name().to_string_lossy());
                let stays = !entry.path_is_symlink() || bounds.hold(entry);
                if seen && !stays {
                    astray.borrow_mut().push(entry.path().to_path_buf());
                }
                seen && stays
            });
        let mut count = 0;
        for entry in entries {
            count += 1;
            if count > MAX_ENTRIES {
                let what = format!("there are more than {MAX_ENTRIES} files and folders in it");
                let advice = "name a folder of manifests, or look for a link that is not meant";
                problems.file(&ground.dir.display().to_string(), what, advice);
                return false;
            }
            let entry = match entry {
                Ok(entry) => entry,
                // A loop contains nothing new, and a link's target may be temporarily missing.
                Err(error) if !ground.is_ours && is_about_a_link(&error) => continue,
                Err(error) => {
                    walk_problem(ground, &error, problems);
                    continue;
                }
            };
            let inner = relative(ground.dir, entry.path());
            let name = format!("{}{inner}", ground.prefix);
            if entry.file_type().is_dir() {
                if entry.depth() == MAX_DEPTH && ground.is_ours {
                    let what = format!("the folder is more than {} deep", MAX_DEPTH - 1);
                    problems.file(&name, what, "move its files up");
                }
                continue;
            }
            let place = (ground.place)(&name, problems);
            let digested = format!("{}{inner}", ground.digested);
            let bytes = |limit| read(entry.path(), limit);
            let named = (name.as_str(), digested.as_str());
            if !self.take(place, named, !ground.is_ours, bytes, problems) {
                return false;
            }
        }
        for path in astray.into_inner() {
            let inner = relative(ground.dir, &path);
            let name = format!("{}{inner}", ground.prefix);
            let (what, advice) = (LEADS_OUT, PUT_IN_PLACE);
            let manifest = path.file_name().is_some_and(|it| it == OWN_MANIFEST);
            if ground.is_ours {
                problems.file(&name, what, advice);
            } else if manifest {
                let digested = format!("{}{inner}", ground.digested);
                let error = || io::Error::other(format!("{what}; {advice}"));
                let named = (name.as_str(), digested.as_str());
                if !self.take(
                    Some(Place::Manifest),
                    named,
                    true,
                    |_| Err(error()),
                    problems,
                ) {
                    return false;
                }
            }
        }
        true
    }

    /// Collects one file. `false` if a limit was reached and reading must stop.
    fn take(
        &mut self,
        place: Option<Place>,
        (name, digested): (&str, &str),
        own: bool,
        bytes: impl FnOnce(usize) -> io::Result<Vec<u8>>,
        problems: &mut Problems,
    ) -> bool {
        let Some(place) = place else {
            return true;
        };
        if matches!(place, Place::Aside) {
            return true;
        }
        self.files += 1;
        if self.files > MAX_FILES {
            let what = format!("there are more than {MAX_FILES} files");
            problems.file(
                ".",
                what,
                "split the access, or look for files that are not meant",
            );
            return false;
        }
        let mut alone = no_problems();
        let text = text(name, bytes(MAX_FILE_BYTES), &mut alone);
        let fault = match own {
            true => alone.all().to_vec(),
            false => {
                problems.extend(alone);
                Vec::new()
            }
        };
        let text = match text {
            Some(text) => text,
            None if own => String::new(),
            None => return true,
        };
        self.bytes += text.len();
        if self.bytes > MAX_BYTES {
            let what = format!("the files together have more than {MAX_BYTES} bytes");
            problems.file(
                ".",
                what,
                "split the access, or look for files that are not meant",
            );
            return false;
        }
        let document = Document {
            name: name.to_owned(),
            text,
            digested: digested.to_owned(),
            own,
            fault,
        };
        match place {
            Place::Organization => self.documents.organization = Some(document),
            Place::Manifest => self.documents.manifests.push(document),
            Place::Guardrail => self.documents.guardrails.push(document),
            Place::Case => self.documents.cases.push(document),
            Place::Aside => {}
        }
        true
    }

    fn finish(self, problems: &mut Problems) -> Documents {
        let mut documents = self.documents;
        for list in [&mut documents.manifests, &mut documents.guardrails] {
            list.sort_by(|a, b| a.name.cmp(&b.name));
            for (first, second) in list.iter().zip(list.iter().skip(1)) {
                if first.name == second.name {
                    problems.file(&first.name, "the file is given twice", "give it once");
                }
            }
        }
        if documents.organization.is_none() && problems.is_empty() {
            problems.file(
                ORGANIZATION,
                "the file is missing",
                "create it with at least `environments` and `issuers`",
            );
        }
        documents
    }
}

/// Where symbolic links may lead.
struct Bounds {
    /// The folder, without links in its own path.
    root: Option<PathBuf>,
    /// Whether the folder belongs to the access alone. Otherwise the models' own folders in it may
    /// be symbolic links.
    is_ours: bool,
}

impl Bounds {
    fn of(ground: &Ground<'_>) -> Self {
        Self {
            root: ground.dir.canonicalize().ok(),
            is_ours: ground.is_ours,
        }
    }

    /// Whether a link stays inside the folder. Outside of it, neither the writers of the files nor
    /// their size are known. A model's own folder may lie elsewhere, but must not contain this
    /// folder.
    fn hold(&self, entry: &DirEntry) -> bool {
        let (Some(root), Ok(target)) = (&self.root, entry.path().canonicalize()) else {
            // A dangling or looping link is reported when it is followed.
            return true;
        };
        let own = !self.is_ours && entry.depth() == 1 && entry.file_type().is_dir();
        target.starts_with(root) || (own && !root.starts_with(&target))
    }
}

/// Classifies a file. A file that could be a misplaced manifest or guardrail is a problem, since a
/// guardrail that is not read has no effect.
fn place(name: &str, problems: &mut Problems) -> Option<Place> {
    let (top, rest) = name
        .split_once('/')
        .map_or((name, None), |(top, rest)| (top, Some(rest)));
    let is = |extension: &str| {
        Path::new(name)
            .extension()
            .is_some_and(|found| found == extension)
    };
    match (top, rest) {
        (ORGANIZATION, None) => Some(Place::Organization),
        (CASES, Some(_)) => Some(Place::Aside),
        (MODELS, Some(_)) if is("toml") => Some(Place::Manifest),
        (POLICIES, Some(_)) if is("cedar") => Some(Place::Guardrail),
        _ if is("md") => Some(Place::Aside),
        (MODELS, Some(_)) => {
            problems.file(
                name,
                "this is no manifest",
                "name it `.toml`, or move it elsewhere",
            );
            None
        }
        (POLICIES, Some(_)) => {
            problems.file(
                name,
                "this is no guardrail",
                "name it `.cedar`, or move it elsewhere",
            );
            None
        }
        (top, Some(_)) => {
            let advice = suggestion(
                top,
                [MODELS, POLICIES, CASES],
                "the folders are `models`, `policies` and `cases`",
            );
            problems.file(name, format!("unknown folder {}", quoted(top)), advice);
            None
        }
        (top, None) if is("toml") || is("cedar") => {
            let advice = suggestion(top, [ORGANIZATION], "move it to `models` or `policies`");
            problems.file(name, format!("unknown file {}", quoted(top)), advice);
            None
        }
        (_, None) => Some(Place::Aside),
    }
}

/// Classifies a file in the folder of cases.
fn case(name: &str, problems: &mut Problems) -> Option<Place> {
    match Path::new(name).extension().and_then(OsStr::to_str) {
        Some("toml") => Some(Place::Case),
        Some("md") => Some(Place::Aside),
        _ => {
            let advice = "name it `.toml`, or move it elsewhere";
            problems.file(name, "this is no case", advice);
            None
        }
    }
}

/// Classifies a file in a model's own folder. All but the manifest belong to the model.
fn own(name: &str, _: &mut Problems) -> Option<Place> {
    let (_, last) = name.rsplit_once('/').unwrap_or(("", name));
    (last == OWN_MANIFEST).then_some(Place::Manifest)
}

/// A link that leaves the folder, and what to do about it.
const LEADS_OUT: &str = "the symbolic link leads out of the folder";
const PUT_IN_PLACE: &str = "put what it leads to in its place";

/// Whether the target of a link is the folder, or below it.
fn is_inside(dir: &Path, link: &Path) -> bool {
    let target = link.canonicalize().ok().zip(dir.canonicalize().ok());
    target.is_some_and(|(target, dir)| target.starts_with(dir))
}

/// Whether the error is a dangling link or a link to a parent folder.
fn is_about_a_link(error: &walkdir::Error) -> bool {
    let dangles = error.path().is_some_and(Path::is_symlink);
    error.loop_ancestor().is_some() || dangles
}

fn text(name: &str, bytes: io::Result<Vec<u8>>, problems: &mut Problems) -> Option<String> {
    let bytes = match bytes {
        Ok(bytes) => bytes,
        Err(error) => {
            problems.file(
                name,
                format!("the file cannot be read: {error}"),
                "make it readable",
            );
            return None;
        }
    };
    if bytes.len() > MAX_FILE_BYTES {
        let what = format!("the file has more than {MAX_FILE_BYTES} bytes");
        problems.file(name, what, "split it");
        return None;
    }
    match String::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let bytes = error.as_bytes();
            let before = String::from_utf8_lossy(bytes.get(..valid).unwrap_or_default());
            problems.at(
                Source::new(name, &before),
                valid,
                "the file is not UTF-8",
                "save it as UTF-8",
            );
            None
        }
    }
}

/// Reads at most one byte more than the limit, whatever size the file system reports.
fn read(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    if !path.metadata()?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a plain file",
        ));
    }
    let mut bytes = Vec::new();
    File::open(path)?
        .take(limit as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn walk_problem(ground: &Ground<'_>, error: &walkdir::Error, problems: &mut Problems) {
    let place = error.path().unwrap_or(ground.dir);
    // The folder itself is named as the caller named it.
    let name = match place == ground.dir {
        true => ground.dir.display().to_string(),
        false => format!("{}{}", ground.prefix, relative(ground.dir, place)),
    };
    if error.loop_ancestor().is_some() {
        let (what, advice) = match is_inside(ground.dir, place) {
            true => (
                "the symbolic link leads back to a folder above it",
                "remove the link",
            ),
            false => (LEADS_OUT, PUT_IN_PLACE),
        };
        problems.file(&name, what, advice);
        return;
    }
    let what = match error.io_error() {
        Some(error) => format!("it cannot be read: {error}"),
        None => "it cannot be read".to_owned(),
    };
    problems.file(&name, what, "make it a folder or file that can be read");
}

fn relative(dir: &Path, path: &Path) -> String {
    let inner = path.strip_prefix(dir).unwrap_or(path);
    let parts: Vec<_> = inner
        .components()
        .map(|part| part.as_os_str().to_string_lossy())
        .collect();
    match parts.join("/") {
        name if name.is_empty() => ".".to_owned(),
        name => name,
    }
}

/// Hidden files are skipped: version control, and the folders through which Kubernetes
/// mounts a `ConfigMap`.
fn is_hidden(name: &str) -> bool {
    name.starts_with('.')
}

const ORGANIZATION: &str = "organization.toml";
const MODELS: &str = "models";
const POLICIES: &str = "policies";
const CASES: &str = "cases";
/// The manifest in a model's own folder.
const OWN_MANIFEST: &str = "access.toml";

/// The number of files in an access: several times ten thousand models.
const MAX_FILES: usize = 50_000;

/// The size of one file in bytes: enough for 20,000 groups or 500 guardrails.
const MAX_FILE_BYTES: usize = 1024 * 1024;

/// The total size of all files in bytes. They are held in memory while they are checked.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// The number of files and folders visited in one folder: enough for a hub of 100,000 models.
const MAX_ENTRIES: usize = 500_000;

/// The depth of nested folders. A model's name rarely has more than three parts.
const MAX_DEPTH: usize = 12;
