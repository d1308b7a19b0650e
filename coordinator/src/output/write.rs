//! Puts rendered reports where `--output` wants them. A file is there whole or not at all: it is written beside its place
//! and renamed. Renders nothing and decides no exit code (the caller turns `WriteError` into 74).

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::spec::{Format, OutputSpec, Target};

/// Writes every output of `spec`; `render` gives the text of a format. One failure does not keep the others from being
/// written: after a run of hours, whatever can be kept is kept. A broken pipe on stdout is no error.
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
            failures.push(Failure { format: output.format, target: output.target.clone(), error });
        }
    }
    WriteError::unless_empty(failures)
}

/// Whether the files of `spec` can be written, asked before a run rather than after it. Leaves nothing behind.
pub fn check_writable(spec: &OutputSpec) -> Result<(), WriteError> {
    let mut failures = Vec::new();
    for (format, path) in spec.files() {
        if let Err(error) = check_file(path) {
            failures.push(Failure { format, target: Target::File(path.to_owned()), error });
        }
    }
    WriteError::unless_empty(failures)
}

/// Whether a file can be written. Leaves nothing behind.
pub(super) fn check_file(path: &Path) -> io::Result<()> {
    match place(path)? {
        Place::Beside { path, mode } => temporary_beside(&path, mode).map(drop),
        // A pipe is not tried: its reader would take the closing for the end.
        Place::Into(_) => Ok(()),
    }
}

fn write_stdout(stdout: &mut dyn Write, text: &str) -> io::Result<()> {
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        // The reader has seen what it wanted (`| head`).
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Writes a file; `content` writes into it.
pub(super) fn write_file<E: From<io::Error>>(
    path: &Path,
    content: impl FnOnce(&mut fs::File) -> Result<(), E>,
) -> Result<(), E> {
    match place(path)? {
        Place::Beside { path, mode } => {
            let mut temporary = temporary_beside(&path, mode)?;
            content(temporary.as_file_mut())?;
            // On the disk before it takes the name: a crash leaves the old file or the new one, not an empty one.
            temporary.as_file().sync_all()?;
            temporary.persist(&path).map_err(|error| error.error)?;
            Ok(())
        }
        Place::Into(path) => {
            let mut file = fs::OpenOptions::new().write(true).open(path)?;
            content(&mut file)?;
            Ok(file.flush()?)
        }
    }
}

/// How a path is written.
enum Place {
    /// A regular file or nothing yet: a temporary file beside it, then a rename. Symbolic links are followed.
    Beside { path: PathBuf, mode: fs::Permissions },
    /// A device or a pipe (`/dev/stderr`, `>(jq .)`): renaming over it would replace it, so it is written to.
    Into(PathBuf),
}

fn place(path: &Path) -> io::Result<Place> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(found) if !found.is_file() => Ok(Place::Into(path.to_owned())),
        Ok(found) => Ok(Place::Beside { path: path.canonicalize()?, mode: found.permissions() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok(Place::Beside { path: path.to_owned(), mode: new_file_mode() })
        }
        Err(error) => Err(error),
    }
}

/// What an ordinary new file gets; the umask takes from it. Temporary files are for their owner alone by default.
fn new_file_mode() -> fs::Permissions {
    use std::os::unix::fs::PermissionsExt;
    fs::Permissions::from_mode(0o666)
}

fn temporary_beside(path: &Path, mode: fs::Permissions) -> io::Result<tempfile::NamedTempFile> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    tempfile::Builder::new().prefix(".muster-").permissions(mode).tempfile_in(directory)
}

/// Every output that could not be written.
#[derive(Debug)]
pub struct WriteError {
    failures: Vec<Failure>,
}

#[derive(Debug)]
struct Failure {
    format: Format,
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

/// Why a file cannot be written, and the way out.
pub(super) fn reason(error: &io::Error) -> String {
    let known = match error.kind() {
        io::ErrorKind::NotFound => "its directory does not exist; create it, or name another path",
        io::ErrorKind::IsADirectory => "it is a directory; name a file in it",
        io::ErrorKind::StorageFull => "the disk is full; free space, or name another path",
        io::ErrorKind::PermissionDenied => "permission denied; name a path that you may write to",
        _ => return error.to_string(),
    };
    known.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn spec(list: &str) -> OutputSpec {
        list.parse().unwrap()
    }

    fn render(format: Format) -> String {
        format!("{format}\n")
    }

    /// Names of all files below `directory`, so that a temporary file left behind is seen.
    fn files(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn every_output_goes_where_it_was_sent() {
        let directory = tempfile::tempdir().unwrap();
        let json = directory.path().join("out.json");
        let csv = directory.path().join("out.csv");
        fs::write(&csv, "what stood there before, and longer").unwrap();
        let mut stdout = Vec::new();
        let list = format!("text,json={},csv={}", json.display(), csv.display());
        write(&spec(&list), &mut stdout, render).unwrap();
        assert_eq!(stdout, b"text\n");
        assert_eq!(fs::read_to_string(json).unwrap(), "json\n");
        assert_eq!(fs::read_to_string(csv).unwrap(), "csv\n");
        assert_eq!(files(directory.path()), ["out.csv", "out.json"]);
    }

    #[test]
    fn one_failure_is_named_and_keeps_nothing_else_from_being_written() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing/out.json");
        let csv = directory.path().join("out.csv");
        let mut stdout = Vec::new();
        let list = format!("json={},csv={},text", missing.display(), csv.display());
        let error = write(&spec(&list), &mut stdout, render).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "cannot write the json report to '{}': its directory does not exist; create it, or name another path",
                missing.display()
            )
        );
        assert_eq!(stdout, b"text\n");
        assert_eq!(fs::read_to_string(csv).unwrap(), "csv\n");
    }

    #[test]
    fn what_cannot_be_written_is_known_before_the_run() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().display();
        let list = format!("json={path}/missing/out.json,csv={path},markdown={path}/good.md,text");
        let error = check_writable(&spec(&list)).unwrap_err().to_string();
        assert!(error.contains("missing/out.json"), "{error}");
        assert!(error.contains("it is a directory; name a file in it"), "{error}");
        assert!(!error.contains("good.md"), "{error}");
        assert!(files(directory.path()).is_empty());
    }

    #[test]
    fn a_new_file_is_readable_by_others_and_an_old_one_keeps_its_mode() {
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
    fn a_link_stays_a_link() {
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
    fn a_device_is_written_to_and_not_replaced() {
        use std::os::unix::fs::FileTypeExt;
        let list = spec("json=/dev/null");
        check_writable(&list).unwrap();
        write(&list, &mut Vec::new(), render).unwrap();
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    }

    /// A stdout that fails in one way.
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
    fn a_broken_pipe_is_no_error_and_a_full_disk_is_one() {
        write(&spec("text"), &mut Failing(io::ErrorKind::BrokenPipe), render).unwrap();
        let error = write(&spec("text"), &mut Failing(io::ErrorKind::StorageFull), render).unwrap_err();
        assert!(error.to_string().starts_with("cannot write the text report to stdout: "), "{error}");
    }
}
