//! A headless Chromium, driven by the messages of its DevTools protocol over two pipes: JSON texts, each ended by a zero byte.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::harness::PATIENCE;

/// How long a page may take over anything, on a machine that is busy.
const ANSWER: Duration = Duration::from_secs(60);

/// How long a page may take to replace another.
const SETTLES: Duration = Duration::from_secs(20);

/// A browser with one page; it ends with the test.
pub(crate) struct Browser {
    child: Child,
    to: File,
    from: BufReader<File>,
    session: Option<String>,
    last: u64,
    /// What the browser reported by itself.
    pub(crate) events: Vec<Value>,
    _folder: tempfile::TempDir,
}

impl Browser {
    /// Starts one, with an empty page of 360 by 740; none where there is no Chromium.
    pub(crate) fn start() -> Option<Self> {
        if !super::has("chromium", "chromium") {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let [to, from] = ["to", "from"].map(|name| folder.path().join(name));
        assert!(Command::new("mkfifo").args([&to, &from]).status().unwrap().success());
        let script = "exec chromium --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
             --disable-background-networking --disable-component-update --hide-scrollbars --lang=en-GB \
             --user-data-dir=\"$2\" --remote-debugging-pipe 3<\"$0\" 4>\"$1\"";
        let mut command = Command::new("sh");
        command.arg("-c").arg(script).arg(&to).arg(&from).arg(folder.path().join("profile"));
        command.env("TZ", "UTC").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        // Each side of a pipe waits for the other one, in this order.
        let to = File::options().write(true).open(&to).unwrap();
        let from = BufReader::new(File::open(&from).unwrap());
        let mut browser =
            Browser { child, to, from, session: None, last: 0, events: Vec::new(), _folder: folder };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attached =
            browser.call("Target.attachToTarget", json!({ "targetId": target["targetId"], "flatten": true }));
        browser.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Network", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser.size(360, 740);
        Some(browser)
    }

    /// Sends one message and waits for its answer.
    pub(crate) fn call(&mut self, method: &str, params: Value) -> Value {
        self.try_call(method, params).unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    fn try_call(&mut self, method: &str, params: Value) -> Result<Value, Value> {
        self.last += 1;
        let mut message = json!({ "id": self.last, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.to.write_all(format!("{message}\0").as_bytes()).unwrap();
        let end = Instant::now() + ANSWER;
        loop {
            assert!(Instant::now() < end, "no answer to {method}");
            let mut bytes = Vec::new();
            self.from.read_until(0, &mut bytes).unwrap();
            assert_eq!(bytes.pop(), Some(0), "the browser has ended");
            let answer: Value = serde_json::from_slice(&bytes).unwrap();
            if answer["id"] == self.last {
                return match answer.get("error") {
                    Some(error) => Err(error.clone()),
                    None => Ok(answer["result"].clone()),
                };
            }
            self.events.push(answer);
        }
    }

    /// Loads a page, and waits until it is complete.
    pub(crate) fn open(&mut self, url: &str) {
        self.js("window.isOld = true");
        self.call("Page.navigate", json!({ "url": url }));
        self.eventually("the page is there", |browser| {
            browser.js("!window.isOld && document.readyState === 'complete'") == json!(true)
        });
    }

    /// The value of an expression on the page.
    pub(crate) fn js(&mut self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        // The page may just be replaced by the next one, and have no body yet.
        let end = Instant::now() + SETTLES;
        loop {
            let answer = self.try_call("Runtime.evaluate", params.clone());
            match answer {
                Ok(answer) if answer.get("exceptionDetails").is_none() => {
                    return answer["result"]["value"].clone();
                }
                Ok(why) | Err(why) => assert!(Instant::now() < end, "{expression}: {why}"),
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The same as text.
    pub(crate) fn text(&mut self, expression: &str) -> String {
        self.js(expression).as_str().unwrap_or_default().to_owned()
    }

    /// Asks again and again until the answer is yes.
    pub(crate) fn eventually(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        let end = Instant::now() + PATIENCE.max(ANSWER);
        while !holds(self) {
            if Instant::now() > end {
                let shown = self.text("document.body.innerText");
                panic!("not within {ANSWER:?}: {what}. The page shows:\n{shown}");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Sets the size of the page.
    pub(crate) fn size(&mut self, width: u32, height: u32) {
        let params =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500 });
        self.call("Emulation.setDeviceMetricsOverride", params);
    }

    /// Lets the page see a light or a dark system.
    pub(crate) fn scheme(&mut self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": features }));
    }

    /// A picture of the page as PNG: of what the window shows, or of all of it.
    pub(crate) fn picture(&mut self, whole: bool) -> Vec<u8> {
        let params = json!({ "format": "png", "captureBeyondViewport": whole });
        let answer = self.call("Page.captureScreenshot", params);
        let data = answer["data"].as_str().unwrap();
        data_encoding::BASE64.decode(data.as_bytes()).unwrap()
    }

    /// Puts the token into the form of the page.
    pub(crate) fn unlock(&mut self, token: &str) {
        self.js(&format!(
            "(()=>{{const f=document.querySelector('form[action=\"/login\"]');f.token.value={};f.submit()}})()",
            json!(token)
        ));
        self.eventually("the session is open", |browser| {
            browser.js("!!document.querySelector('form[action=\"/logout\"]')") == json!(true)
        });
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
