//! `checkout`: makes a step the current one and shows where everything is.

use std::fmt::Write as _;
use std::io;

use course::{Progress, Side, slashed};

use crate::project::Project;
use crate::prose;
use crate::screen;
use crate::trouble::Trouble;

/// Makes the step current and prints its page: title, goal, minutes, chapter,
/// files, tasks. Without a step it is the page of the current one.
pub fn checkout(project: &Project, step: Option<&str>) -> Result<(), Trouble> {
    let (step, _) = project.named(step)?;
    Progress::update(&project.root, |progress| progress.set_current(&step));
    let progress = Progress::load(&project.root);
    let done = progress.is_done(&step);
    let steps = project.steps()?;
    let kept = progress.current(&steps) == Some(&step);

    let colour = screen::coloured(&io::stdout());
    let chapter = step.chapter();
    let title = format!("{} · {}", step.label(), step.title(&chapter));
    let mut page = if colour {
        format!("\x1b[1m{title}\x1b[0m\n\n")
    } else {
        format!("{title}\n\n")
    };
    let mut row = |label: &str, text: &str| {
        let _ = writeln!(page, "{label:<10}{text}");
    };
    if let Some(goal) = &chapter.goal {
        row("Goal", &prose::hanging(goal, 10));
    }
    if let Some(minutes) = &chapter.minutes {
        row("Minutes", minutes);
    }
    if done {
        row("State", "done; its checks have passed");
    }
    let file = step.chapter_file();
    if file.is_file() {
        row("Chapter", &slashed(project.short(&file)));
    }
    let tasks = step.tasks(&project.root, Side::Exercise);
    let mut files: Vec<&str> = tasks.iter().map(|task| task.file.as_str()).collect();
    files.sort_unstable();
    files.dedup();
    for (index, file) in files.iter().enumerate() {
        row(if index == 0 { "Files" } else { "" }, file);
    }
    if files.is_empty() {
        row(
            "Files",
            &slashed(project.short(&step.crate_folder(Side::Exercise))),
        );
    } else {
        page.push_str("\nTasks\n");
    }
    for task in &tasks {
        let _ = writeln!(page, "  {}:{}", task.file, task.line);
        let what = prose::hanging(&task.what, 4 + task.id.len() + 2);
        let _ = writeln!(page, "    {}  {what}", task.id);
    }
    let label = step.label();
    let _ = if kept {
        writeln!(
            page,
            "\n{label} is your current step. Read the chapter, then: ./run.sh check"
        )
    } else {
        writeln!(page, "\nRead the chapter, then: ./run.sh check {label}")
    };
    screen::print(&page);
    Ok(())
}
