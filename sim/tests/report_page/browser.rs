//! Chromium, and what it made of a page.

use std::{env, fs, path::PathBuf, process::Command};

/// A tag of a page, in the order of the document. Scripts and styles are left out.
#[derive(Debug)]
pub(crate) struct Tag {
    pub(crate) name: String,
    attributes: Vec<(String, String)>,
    /// The text between it and the next tag.
    pub(crate) text: String,
}

impl Tag {
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn has_class(&self, class: &str) -> bool {
        self.attribute("class").is_some_and(|classes| classes.split_whitespace().any(|other| other == class))
    }
}

/// A page as it is serialised: every attribute has a value in double quotes.
pub(crate) struct Dom(Vec<Tag>);

impl Dom {
    pub(crate) fn read(page: &str) -> Self {
        let mut tags = Vec::new();
        let mut rest = page;
        while let Some(start) = rest.find('<') {
            rest = &rest[start + 1..];
            let (mut tag, after) = read_tag(rest);
            rest = after;
            if matches!(tag.name.as_str(), "script" | "style") {
                rest = &rest[rest.find("</").unwrap_or(rest.len())..];
            }
            rest[..rest.find('<').unwrap_or(rest.len())].clone_into(&mut tag.text);
            if !tag.name.starts_with('/') {
                tags.push(tag);
            }
        }
        Self(tags)
    }

    pub(crate) fn all(&self, wanted: impl Fn(&Tag) -> bool) -> Vec<&Tag> {
        self.0.iter().filter(|tag| wanted(tag)).collect()
    }

    pub(crate) fn only(&self, what: &str, wanted: impl Fn(&Tag) -> bool) -> &Tag {
        let found = self.all(wanted);
        assert_eq!(found.len(), 1, "{what}: {found:?}");
        found[0]
    }
}

/// The tag whose inside `rest` begins with, and what follows it.
fn read_tag(rest: &str) -> (Tag, &str) {
    let end = rest.find(|char: char| char.is_whitespace() || char == '>').unwrap_or(rest.len());
    let mut tag = Tag { name: rest[..end].to_owned(), attributes: Vec::new(), text: String::new() };
    let mut rest = rest[end..].trim_start();
    while let Some(char) = rest.chars().next() {
        if char == '>' {
            return (tag, &rest[1..]);
        }
        let end = rest.find(|char: char| char.is_whitespace() || "=>".contains(char)).unwrap_or(rest.len());
        let name = rest[..end.max(1)].to_owned();
        rest = &rest[end.max(1)..];
        let mut value = String::new();
        if let Some(quoted) = rest.strip_prefix("=\"") {
            let end = quoted.find('"').unwrap_or(quoted.len());
            quoted[..end].clone_into(&mut value);
            rest = quoted.get(end + 1..).unwrap_or("");
        }
        tag.attributes.push((name, value));
        rest = rest.trim_start();
    }
    (tag, rest)
}

/// The page with one more script before its own, which its policy would not let in.
pub(crate) fn with_script(page: &str, script: &str) -> String {
    without_policy(page).replace("<body>", &format!("<body><script>{script}</script>"))
}

/// The page without what keeps others' scripts out.
pub(crate) fn without_policy(page: &str) -> String {
    let (before, policy) = page.split_once("<meta http-equiv=").expect("a policy");
    let (_, after) = policy.split_once(">\n").expect("its end");
    format!("{before}{after}")
}

/// What became of a page that was opened from disk.
pub(crate) fn open(name: &str, page: &str) -> Dom {
    open_at(name, page, "")
}

/// The same with a fragment behind its address.
pub(crate) fn open_at(name: &str, page: &str, fragment: &str) -> Dom {
    let chromium = env::var_os("SEPTA_CHROMIUM").expect("SEPTA_CHROMIUM names the browser; `.ci/run report` sets it");
    let directory =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("report-page-{name}-{}", std::process::id()));
    let (profile, file) = (directory.join("profile"), directory.join("report.html"));
    fs::create_dir_all(&profile).unwrap();
    fs::write(&file, page).unwrap();
    let output = Command::new(chromium)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--disable-dev-shm-usage", "--window-size=1400,900", "--virtual-time-budget=5000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("file://{}{fragment}", file.display()))
        .output()
        .expect("Chromium starts");
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    fs::remove_dir_all(&directory).unwrap();
    Dom::read(&String::from_utf8(output.stdout).unwrap())
}
