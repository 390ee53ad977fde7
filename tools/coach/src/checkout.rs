//! `checkout`: makes a step the current one and shows where everything is.

use std::fmt::Write as _;

use course::{Progress, Side};

use crate::project::Project;
use crate::prose;
use crate::screen;
use crate::trouble::Trouble;

/// Makes the step current and prints its page: title, goal, minutes, chapter,
/// files, tasks. Without a step it is the page of the current one.
pub fn checkout(project: &Project, step: Option<&str>) -> Result<(), Trouble> {
    let (step, _) = project.named(step)?;
    Progress::update(&project.root, |progress| progress.set_current(&step));
    let done = Progress::load(&project.root).is_done(&step);
    let chapter = step.chapter();
    let title = format!("{} · {}", step.label(), step.title(&chapter));
    let mut page = screen::styled("1", &title) + "\n\n";
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
    row("Chapter", &step.readme());
    let tasks = step.tasks(&project.root, Side::Exercise);
    row("Files", &step.crate_dir(Side::Exercise));
    page.push_str("\nTasks\n");
    for task in &tasks {
        let _ = writeln!(page, "  {}:{}", task.file, task.line);
        let what = prose::hanging(&task.what, 4 + task.id.len() + 2);
        let _ = writeln!(page, "    {}  {what}", task.id);
    }
    let label = step.label();
    let _ = writeln!(page, "\nRead the chapter, then: ./run.sh check {label}");
    screen::print(&page);
    Ok(())
}
