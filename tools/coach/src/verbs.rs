//! The verbs, their arguments and their help.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::{check, gate, new, trace, watch};

#[derive(Parser)]
#[command(
    name = "coach",
    bin_name = "./run.sh",
    subcommand_value_name = "VERB",
    subcommand_help_heading = "Verbs",
    after_help = "./run.sh help check explains one verb, with examples.\n\nEnvironment: MARKETSVC_ADDR (default 127.0.0.1:9090) and DATABASE_URL (default\nsqlite://marketdb.sqlite; a relative path begins in the project's folder).\nExit codes: 0 passed, 1 a check failed, 2 wrong usage, 3 the environment is at fault."
)]
pub struct Arguments {
    /// The project's folder; without it, the current folder or one above it.
    #[arg(long, hide = true, global = true)]
    pub root: Option<PathBuf>,
    #[command(subcommand)]
    pub verb: Option<Verb>,
}

#[derive(Subcommand)]
pub enum Verb {
    /// Build and start the finished service, or a program of a step
    #[command(
        disable_help_flag = true,
        after_help = "Examples:\n  ./run.sh run                        the finished service\n  ./run.sh run --addr 127.0.0.1:8080  with flags of its own\n  ./run.sh run 05                     the exercise of step 05\n  ./run.sh run 05 --solution          the solution of step 05\n  ./run.sh run 01 tasks               a program of step 01\n  ./run.sh run 04 one_fails           an example of step 04\n\nFlags that come after the first word belong to the program. A step's service takes\nits address from MARKETSVC_ADDR and its database from DATABASE_URL."
    )]
    Run {
        /// An optimised build of the finished service
        #[arg(long)]
        release: bool,
        /// The step's solution instead of the exercise
        #[arg(long)]
        solution: bool,
        /// A step, a program or an example of it, and the arguments of the program
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Add generated rows to the database
    #[command(
        disable_help_flag = true,
        after_help = "Examples:\n  ./run.sh seed --customers 1000000 --orders 100000"
    )]
    Seed {
        /// An optimised build, which pays off for tens of millions of rows
        #[arg(long)]
        release: bool,
        /// The flags of its program: --customers N, --orders N
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Measure the service and its alternatives, as release builds
    #[command(
        disable_help_flag = true,
        after_help = "Examples:\n  ./run.sh bench serve --quick  one of serve, stream, write, mix, load\n  ./run.sh bench                all of them\n  ./run.sh bench --help         all flags"
    )]
    Bench {
        /// What to measure, and the flags of the bench
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Build the book and open it in the browser
    #[command(
        disable_help_flag = true,
        after_help = "Examples:\n  ./run.sh book            build it and open it\n  ./run.sh book --no-open  only build it, and print where it is\n  ./run.sh book --serve    build it again at every save, until Ctrl-C\n  ./run.sh book --help     all flags"
    )]
    Book {
        /// The flags of its program
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Ask the running service for all customers
    #[command(after_help = "Examples:\n  ./run.sh customers")]
    Customers,
    /// Ask for the orders of a customer
    #[command(after_help = "Examples:\n  ./run.sh custorders 1")]
    Custorders {
        /// The customer's id
        #[arg(allow_negative_numbers = true)]
        customer: String,
    },
    /// Ask for the total of an order
    #[command(after_help = "Examples:\n  ./run.sh ordertotal 1")]
    Ordertotal {
        /// The order's id
        #[arg(allow_negative_numbers = true)]
        order: String,
    },
    /// Ask for the totals of several orders, in the order of their ids on the command line
    #[command(after_help = "Examples:\n  ./run.sh orderstotal 3,1\n  ./run.sh orderstotal [3, 1]")]
    Orderstotal {
        /// The orders' ids
        #[arg(default_value = "1,2,3", allow_negative_numbers = true)]
        orders: Vec<String>,
    },
    /// Ask for the orders placed between two dates, the later date first
    #[command(
        after_help = "Examples:\n  ./run.sh ordersbet 2024-03-22 2024-03-17\n  ./run.sh ordersbet 2024-03-22 '2024-03-17 12:00:00'"
    )]
    Ordersbet {
        /// The later date
        #[arg(default_value = "2024-03-22 00:00:00", requires = "after")]
        before: String,
        /// The earlier date
        #[arg(default_value = "2024-03-17 00:00:00")]
        after: String,
    },
    /// Place an order
    #[command(
        after_help = "Examples:\n  ./run.sh neworder '{\"customer_id\":2,\"items\":[{\"id\":1,\"quantity\":3}]}'\n\nThe JSON is one word: put it in single quotes."
    )]
    Neworder {
        // Customer 2, so that an order stored under the first customer is noticed.
        /// The order, as JSON in single quotes
        #[arg(
            default_value = r#"{"customer_id":2,"items":[{"id":2,"quantity":4},{"id":3,"quantity":6}]}"#
        )]
        json: String,
    },
    /// List the steps with their state, minutes and goals
    #[command(after_help = "Examples:\n  ./run.sh list")]
    List,
    /// Make a step the current one, and show its chapter, files and tasks
    #[command(
        after_help = "Examples:\n  ./run.sh checkout 05   work on step 05 from now on\n  ./run.sh checkout      show the page of the current step again\n\nThe other verbs then use this step if you give no number. Your files are not changed."
    )]
    Checkout {
        /// 5, 05, 05-engine or steps/05-engine
        step: Option<String>,
    },
    /// Check a step: build it, run its checks, show the first failure in full
    #[command(
        after_help = "Examples:\n  ./run.sh check                the current step\n  ./run.sh check 05             your exercise\n  ./run.sh check 05 --solution  the solution\n  ./run.sh check 05.2           only the checks of task 05.2\n  ./run.sh check 05 stream      only those whose name contains \"stream\"\n  ./run.sh check 05 --brief     the first failure alone, for a small terminal\n  ./run.sh check 05 --all       every error of the compiler, not only the first\n  ./run.sh check 05 --json      one JSON object on stdout (tools/coach/README.md)\n\nWithout a number, check takes the step in whose folder you are, or else the current one\n(./run.sh checkout)."
    )]
    Check(check::Request),
    /// Check a step now and after every save, with keys for hint, diff and next step
    #[command(
        after_help = "Examples:\n  ./run.sh watch       the current step, at every save\n  ./run.sh watch 05\n\nKeys, in a terminal: h hint, again: more, d diff, n next step (once this one has\npassed), r run again, q quit.\n\nExit codes: 0 by q, 130 by Ctrl-C, 143 by kill, 129 if the terminal is closed."
    )]
    Watch(watch::Request),
    /// Show a hint for a task: a nudge, then a pointer, then nearly the answer
    #[command(
        after_help = "Examples:\n  ./run.sh hint            the task that failed first at the last check\n  ./run.sh hint more       the next level for it\n  ./run.sh hint 05.2       this task\n  ./run.sh hint 05.2 more\n\nWithout `more`, hint repeats the last level that you have seen."
    )]
    Hint {
        /// A step (05) or a task (05.2); without it, the current step
        target: Option<String>,
        /// The next level
        #[arg(value_parser = ["more"])]
        more: Option<String>,
    },
    /// Show a patch from your exercise to the solution, or from one solution to another
    #[command(
        after_help = "Examples:\n  ./run.sh diff 05                what is left to do, one hunk for each task\n  ./run.sh diff                   the same for the current step\n  ./run.sh diff 04 05             from the solution of 04 to that of 05\n  ./run.sh diff 05 | git apply    apply the solution; --stat counts its lines"
    )]
    Diff {
        /// 5, 05, 05-engine or steps/05-engine; without it, the current step
        step: Option<String>,
        /// Compare the two steps' solutions
        other: Option<String>,
    },
    /// Put a step's exercise back as it was published, after saving yours
    #[command(
        after_help = "Examples:\n  ./run.sh reset 05\n\nThe whole exercise is saved in backups/ first, and the command that undoes it is\nprinted. Files that only you have stay."
    )]
    Reset {
        /// 5, 05, 05-engine or steps/05-engine
        step: String,
    },
    /// Put the solution in place of your exercise, after saving yours
    #[command(
        after_help = "Examples:\n  ./run.sh solve 05\n\nThe whole exercise is saved in backups/ first, and the command that undoes it is\nprinted. Files that only you have stay, your own tests among them."
    )]
    Solve {
        /// 5, 05, 05-engine or steps/05-engine
        step: String,
    },
    /// Bring back an exercise that reset, solve or restore saved, or list all that are saved
    #[command(
        after_help = "Examples:\n  ./run.sh restore\n  ./run.sh restore 2026-11-21_225500-05-engine\n\nYour present exercise is saved first. Times are UTC."
    )]
    Restore {
        /// The backup's name
        name: Option<String>,
        /// The step, if its folder has another name now
        #[arg(long, value_name = "STEP")]
        to: Option<String>,
    },
    /// Run a step's program and draw which tasks ran when
    #[command(
        after_help = "Examples:\n  ./run.sh trace 01 tasks                 a program of step 01, your version\n  ./run.sh trace 01 tasks --solution      the solution\n  ./run.sh trace 04                       the queries of a request, and their connections\n  ./run.sh trace 01 tasks --svg mine.svg  the picture in a file of that name\n\nWithout --svg the picture goes to target/trace/. Steps 01, 04, 05, 07, 10, 12 and 13 have programs to trace."
    )]
    Trace(trace::Request),
    /// Run all tests and proofs of the project, as CI does, or some parts
    #[command(after_help = "Examples:\n  ./run.sh test\n  ./run.sh test format clippy")]
    Test {
        /// Only these parts
        parts: Vec<gate::Part>,
    },
    /// Start a private PostgreSQL server, or a cluster of three, until you end it
    #[cfg(unix)]
    #[command(
        after_help = "Examples:\n  ./run.sh postgres                     until Ctrl-C\n  ./run.sh postgres --servers 3         a primary and two standbys\n  ./run.sh postgres -- ./run.sh run 16  only while the service of step 16 runs\n  ./run.sh postgres -- sh -c 'psql \"$DATABASE_URL\"'\n\nThe first line that is printed sets DATABASE_URL: paste it before a command in another\nterminal. The data is new each time, and removed at the end: by Ctrl-C, by kill, when\nthe command ends, or when stdin ends if it is not a terminal. A server that runs\nalready is left alone. The command has DATABASE_URL in its environment, and its exit\ncode is passed on."
    )]
    Postgres {
        /// One server, or a primary with a synchronous and an asynchronous standby
        #[arg(long, value_name = "1|3", default_value = "1", hide_default_value = true, value_parser = ["1", "3"], hide_possible_values = true)]
        servers: String,
        /// A command to run, with its arguments
        #[arg(last = true)]
        command: Vec<std::ffi::OsString>,
    },
    /// Make an application of your own, or add a module or a field to it
    #[command(
        subcommand,
        after_help = "Examples:\n  ./run.sh new app ../shop\n  cd ../shop\n  ../market/run.sh new module author --field name:text:unique\n  ../market/run.sh new module book --field title:text:unique --field author:ref=author\n  ../market/run.sh new field book isbn:text:null\n\nHere ../market is this project's folder."
    )]
    New(new::Request),
    /// Find out what this machine lacks, and how to install it
    #[command(
        after_help = "Examples:\n  ./run.sh doctor\n  MARKETSVC_ADDR=127.0.0.1:9191 ./run.sh doctor\n\nEnds with 3 if something must be fixed."
    )]
    Doctor,
    /// Download and build everything, so that a network is not needed later
    #[command(
        after_help = "Examples:\n  ./run.sh prefetch               some minutes\n  ./run.sh prefetch --no-build    only the download"
    )]
    Prefetch {
        /// Only download
        #[arg(long)]
        no_build: bool,
    },
    /// Remove the build files; progress, backups and databases stay
    #[command(after_help = "Examples:\n  ./run.sh clean")]
    Clean,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_verb_has_examples_in_its_help() {
        let command = Arguments::command();
        command.clone().debug_assert();
        for verb in command.get_subcommands() {
            let name = verb.get_name();
            let help = verb
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(
                help.starts_with(&format!("Examples:\n  ./run.sh {name}")),
                "{name} has no examples in its help: {help}"
            );
        }
        assert!(command.get_subcommands().count() >= 25);
    }
}
