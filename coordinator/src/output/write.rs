//! Writes rendered reports to the targets of `--output`. A file is written completely or not at all: it is written under a temporary name
//! in the same directory and then renamed. It does not choose the exit code; the caller maps `WriteError` to 74.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use muster_report::Format;

use super::spec::{HLOG, OutputSpec, Target};

/// Writes every output of `spec`; `render` returns the text of a format. If one output fails, the others are still written, so that the
/// results of a long run are not lost. A broken pipe on stdout is not an error.
///
/// # Errors
/// Returns all outputs that could not be written.
pub fn write(
    spec: &OutputSpec,
    stdout: &mut dyn Write,
    render: impl Fn(Format) -> String,
) -> Result<(), WriteError> {
    let mut failures = Vec::new();
    for output in spec.outputs() {
        let text = render(output.format);
        let written = match &output.target {
            Target::Stdout => write_stdout(stdout, &text),
            Target::File(path) => write_file(path, |file| file.write_all(text.as_bytes())),
        };
        if let Err(error) = written {
            failures.push(Failure { format: output.format.name(), target: output.target.clone(), error });
        }
    }
    WriteError::unless_empty(failures)
}

/// Checks that the files of `spec` can be written, so that a problem is found before a run. Leaves no files behind.
///
/// # Errors
/// Returns all files that cannot be written.
pub fn check_writable(spec: &OutputSpec) -> Result<(), WriteError> {
    let mut failures = Vec::new();
    let files = spec.files().map(|(format, path)| (format.name(), path));
    for (format, path) in files.chain(spec.hlog().map(|path| (HLOG, path))) {
        if let Err(error) = check_file(path) {
            failures.push(Failure { format, target: Target::File(path.to_owned()), error });
        }
    }
    WriteError::unless_empty(failures)
}

/// Checks that a file can be written. Leaves no files behind.
pub(super) fn check_file(path: &Path) -> io::Result<()> {
    match destination(path)? {
        Destination::File { path, mode } => temporary_file(&path, mode).map(drop),
        // A pipe is not opened, because its reader would interpret closing it as the end of the data.
        Destination::Special(_) => Ok(()),
    }
}

fn write_stdout(stdout: &mut dyn Write, text: &str) -> io::Result<()> {
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        // The reader needs no more data (`| head`).
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Writes the file at `path` with the content that `content` writes.
pub(super) fn write_file<E: From<io::Error>>(
    path: &Path,
    content: impl FnOnce(&mut fs::File) -> Result<(), E>,
) -> Result<(), E> {
    match destination(path)? {
        Destination::File { path, mode } => {
            let mut temporary = temporary_file(&path, mode)?;
            content(temporary.as_file_mut())?;
            // The data is synced before the rename, so that a crash leaves the old or the new file, but not an empty one.
            temporary.as_file().sync_all()?;
            temporary.persist(&path).map_err(|error| error.error)?;
            Ok(())
        }
        Destination::Special(path) => {
            let mut file = fs::OpenOptions::new().write(true).open(path)?;
            content(&mut file)?;
            Ok(file.flush()?)
        }
    }
}

/// What a path refers to, which determines how it is written.
enum Destination {
    /// A regular file, or none yet: it is replaced by renaming a temporary file. Symbolic links are followed.
    File { path: PathBuf, mode: fs::Permissions },
    /// A device or a pipe (`/dev/stderr`, `>(jq .)`): it is opened and written to, because a rename would replace it.
    Special(PathBuf),
}

fn destination(path: &Path) -> io::Result<Destination> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(found) if !found.is_file() => Ok(Destination::Special(path.to_owned())),
        Ok(found) => Ok(Destination::File { path: path.canonicalize()?, mode: found.permissions() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok(Destination::File { path: path.to_owned(), mode: new_file_mode() })
        }
        Err(error) => Err(error),
    }
}

/// The mode of an ordinary new file before the umask applies. By default only the owner can access a temporary file.
fn new_file_mode() -> fs::Permissions {
    use std::os::unix::fs::PermissionsExt;
    fs::Permissions::from_mode(0o666)
}

fn temporary_file(path: &Path, mode: fs::Permissions) -> io::Result<tempfile::NamedTempFile> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    tempfile::Builder::new().prefix(".muster-").permissions(mode).tempfile_in(directory)
}

/// The outputs that could not be written.
#[derive(Debug)]
pub struct WriteError {
    failures: Vec<Failure>,
}

#[derive(Debug)]
struct Failure {
    format: &'static str,
    target: Target,
    error: io::Error,
}

impl WriteError {
    fn unless_empty(failures: Vec<Failure>) -> Result<(), Self> {
        if failures.is_empty() { Ok(()) } else { Err(Self { failures }) }
    }
}

impl std::error::Error for WriteError {}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, failure) in self.failures.iter().enumerate() {
            let separator = if i == 0 { "" } else { "; " };
            write!(f, "{separator}{failure}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { format, target, error } = self;
        let path = match target {
            Target::Stdout => {
                return write!(f, "cannot write the {format} report to stdout: {error}");
            }
            Target::File(path) => path.display(),
        };
        write!(f, "cannot write the {format} report to '{path}': {}", reason(error))
    }
}

/// The reason why a file cannot be written, and how to fix it.
pub(super) fn reason(error: &io::Error) -> String {
    let known = match error.kind() {
        io::ErrorKind::NotFound => "the directory does not exist; create it or choose another path",
        io::ErrorKind::IsADirectory => "it is a directory; give the path of a file",
        io::ErrorKind::StorageFull => "the disk is full; free space or choose another path",
        io::ErrorKind::PermissionDenied => "permission denied; choose a path that you may write to",
        _ => return error.to_string(),
    };
    known.to_owned()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn spec(list: &str) -> OutputSpec {
        list.parse().unwrap()
    }

    fn render(format: Format) -> String {
        format!("{format}\n")
    }

    /// The names of all files in `directory`, which would include a temporary file left behind.
    fn files(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn every_output_is_written_to_its_target() {
        let directory = tempfile::tempdir().unwrap();
        let json = directory.path().join("out.json");
        let csv = directory.path().join("out.csv");
        fs::write(&csv, "an earlier and longer content").unwrap();
        let mut stdout = Vec::new();
        let list = format!("text,json={},csv={}", json.display(), csv.display());
        write(&spec(&list), &mut stdout, render).unwrap();
        assert_eq!(stdout, b"text\n");
        assert_eq!(fs::read_to_string(json).unwrap(), "json\n");
        assert_eq!(fs::read_to_string(csv).unwrap(), "csv\n");
        assert_eq!(files(directory.path()), ["out.csv", "out.json"]);
    }

    #[test]
    fn a_failure_is_reported_and_the_other_outputs_are_written() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing/out.json");
        let csv = directory.path().join("out.csv");
        let mut stdout = Vec::new();
        let list = format!("json={},csv={},text", missing.display(), csv.display());
        let error = write(&spec(&list), &mut stdout, render).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "cannot write the json report to '{}': the directory does not exist; create it or choose another path",
                missing.display()
            )
        );
        assert_eq!(stdout, b"text\n");
        assert_eq!(fs::read_to_string(csv).unwrap(), "csv\n");
    }

    #[test]
    fn files_that_cannot_be_written_are_found_before_the_run() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().display();
        let list = format!("json={path}/missing/out.json,csv={path},markdown={path}/good.md,text");
        let error = check_writable(&spec(&list)).unwrap_err().to_string();
        assert!(error.contains("missing/out.json"), "{error}");
        assert!(error.contains("it is a directory; give the path of a file"), "{error}");
        assert!(!error.contains("good.md"), "{error}");
        assert!(files(directory.path()).is_empty());
    }

    #[test]
    fn a_new_file_has_the_default_mode_and_an_existing_one_keeps_its_mode() {
        let directory = tempfile::tempdir().unwrap();
        let ordinary = directory.path().join("ordinary");
        fs::write(&ordinary, "").unwrap();
        let new = directory.path().join("new");
        let old = directory.path().join("old");
        fs::write(&old, "").unwrap();
        fs::set_permissions(&old, fs::Permissions::from_mode(0o600)).unwrap();
        let list = format!("json={},csv={}", new.display(), old.display());
        write(&spec(&list), &mut Vec::new(), render).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&new), mode(&ordinary));
        assert_eq!(mode(&old), 0o600);
    }

    #[test]
    fn a_symbolic_link_is_followed_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        let link = directory.path().join("link");
        fs::write(&file, "").unwrap();
        symlink(&file, &link).unwrap();
        write(&spec(&format!("json={}", link.display())), &mut Vec::new(), render).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(file).unwrap(), "json\n");
    }

    #[test]
    fn a_device_is_written_and_not_replaced() {
        use std::os::unix::fs::FileTypeExt;
        let list = spec("json=/dev/null");
        check_writable(&list).unwrap();
        write(&list, &mut Vec::new(), render).unwrap();
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    }

    /// A stdout on which every write fails with this error.
    struct Failing(io::ErrorKind);

    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_broken_pipe_is_ignored_and_a_full_disk_is_an_error() {
        write(&spec("text"), &mut Failing(io::ErrorKind::BrokenPipe), render).unwrap();
        let error = write(&spec("text"), &mut Failing(io::ErrorKind::StorageFull), render).unwrap_err();
        assert!(error.to_string().starts_with("cannot write the text report to stdout: "), "{error}");
    }
}
